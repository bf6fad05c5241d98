"""Settings -> data and models: the one place where everything meets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from understudy.branches import branches_of
from understudy.classifier import Classifier
from understudy.data import ImageData, load_data, read_unlabelled
from understudy.data.folds import on_fold
from understudy.data.loader import MAX_RESIDENT_SIZE
from understudy.distiller import Distiller
from understudy.engine.allocator import keep_freed_memory
from understudy.engine.device import choose_device, choose_precision, seed_everything
from understudy.engine.distributed import World, first_goes_ahead
from understudy.errors import UserError
from understudy.exits import add_exits
from understudy.experiments.assembly import Assembly, as_user_error, split_name
from understudy.experiments.layers import choose_layers
from understudy.experiments.networks import check_takes, make_classifier, own_settings, wrapped
from understudy.experiments.sections import DataSettings, StudentSettings
from understudy.experiments.settings import OBJECT, RunSettings, teacher_names
from understudy.experiments.sizes import largest_side
from understudy.experiments.teaching import build_teacher, teacher_notes
from understudy.kernels import keep_right
from understudy.methods.base import METHODS, Method
from understudy.models import copy_matching, default_size, freeze
from understudy.teachers import Ensemble, Teacher
from understudy.teachers.adjusted import AdjustedClassifier

Tree = Mapping[str, Any]

# Images whose activations stay in a CPU's cache, in float32; twice as many in half precision.
TEACHER_CHUNK = 32
TEACHER_SEED = 500_009


@dataclass(frozen=True)
class Given:
    """Objects that take the place of what the settings name, from the Python interface.

    A bare network is taken for one that wants images normalised with the data's mean and standard deviation; a
    `Classifier` says for itself.

    Args:
        data: A loaded data set.
        teacher: A trained network.
        student: A network to train.
    """

    data: ImageData | None = None
    teacher: nn.Module | None = None
    student: nn.Module | None = None


def assemble(settings: RunSettings, *, world: World | None = None, given: Given | None = None) -> Assembly:
    """Load the data and build the models, on their device.

    The student's first weights depend on the seed alone, so a plain and a distilled run of one seed start equal.

    Args:
        settings: The resolved settings.
        world: The processes that work together; alone by default.
        given: Objects that take the place of what the settings name.

    Raises:
        UserError: Something the settings name is missing or does not fit together.
    """
    world, given = world or World(), given or Given()
    device = choose_device(settings.device, world.local_rank)
    if device.type == "cpu":
        keep_freed_memory()
    with first_goes_ahead(world):
        data = _load(settings, given)
        size = settings.data["size"] or _size(settings, given, data)
        # A teacher without weights is the same one each time as well, and another network than the student.
        seed_everything(settings.seed + TEACHER_SEED, deterministic=settings.train.deterministic)
        teacher = build_teacher(settings, given.teacher, data, size)
        seed_everything(settings.seed, deterministic=settings.train.deterministic)
        student = _student(settings, given, data, size)
    image = torch.zeros(2, data.channels, size, size)
    for role, model in (("teacher", teacher), ("student", student)):
        if model is not None:
            check_takes(role, model, image, len(data.classes))
    notes = [*data.notes, *teacher_notes(teacher), *_add_exits(student, settings, image)]
    notes += _prepare(student, teacher, settings.student)
    methods = [make_method(chosen, compile_it=settings.train.compile) for chosen in settings.method]
    notes += choose_layers(methods, student, teacher, image)
    label = settings.label
    with as_user_error("method"):
        distiller = Distiller(student, methods, label_weight=label.weight, label_smoothing=label.smoothing)
    taps = [tap for method in methods for tap in method.taps().teacher]
    source = _source(teacher, taps, settings, device) if teacher else None
    made = Assembly(settings, world, device, data, size, student, source, distiller.to(device), tuple(notes))
    with as_user_error("method"):
        distiller.setup(made.sample(), source, labels=data.train.labels)
    distiller.to(device)
    notes = [*made.notes, *(note for method in methods for note in method.notes), *_keep_right(made)]
    made = replace(made, notes=tuple(notes))
    # Adapters have drawn random numbers; dropout must not depend on how many, and differ among the processes.
    seed_everything(settings.seed + 1_000_003 * world.rank, deterministic=settings.train.deterministic)
    return made


def _source(teacher: nn.Module, taps: list[str], settings: RunSettings, device: torch.device) -> Teacher:
    chosen = (settings.teacher or {}).get("precision") or settings.train.precision
    precision = choose_precision(chosen)
    chunk = TEACHER_CHUNK * 4 // precision.itemsize if device.type == "cpu" else None
    return Teacher(teacher, taps=taps, precision=precision, chunk=chunk).to(device)


def _keep_right(made: Assembly) -> list[str]:
    """Find what half precision would get wrong on this processor; what was done, one line each."""
    if made.device.type != "cpu":
        return []
    sample, teacher = made.sample(), made.teacher
    notes: list[str] = []
    if teacher and teacher.precision != torch.float32:
        wrong = keep_right(teacher.tapped.model, lambda: teacher(sample), teacher.precision)
        notes += [f"teacher: {_in_float32(path)}" for path in wrong]
    precision = choose_precision(made.settings.train.precision)
    if precision != torch.float32:
        run = torch.autocast("cpu", precision)(made.distiller.student.forward)
        wrong = keep_right(made.student.network, lambda: run(sample.image), precision)
        notes += [f"student: {_in_float32(path)}" for path in wrong]
    return notes


def _in_float32(path: str) -> str:
    return f"'{path}' is computed in float32: this processor's half-precision kernel gets it wrong"


def _load(settings: RunSettings, given: Given) -> ImageData:
    chosen = settings.data
    data = given.data or load_data(chosen["name"], settings=own_settings(chosen, DataSettings))
    if chosen["folds"] or chosen["fold"]:
        data = _on_fold(data, chosen)
    if not len(data.val):
        raise UserError("there are no validation images to select with: set data.validation=0.1")
    if chosen["unlabelled"] is None:
        return data
    unlabelled = read_unlabelled(chosen["unlabelled"])
    note = f"{len(unlabelled)} images without labels from '{chosen['unlabelled']}' join the training batches"
    return replace(data, unlabelled=unlabelled, notes=(*data.notes, note))


def _on_fold(data: ImageData, chosen: Tree) -> ImageData:
    if not chosen["folds"] or not chosen["fold"]:
        raise UserError("data.folds and data.fold go together: set for example data.folds=5 data.fold=1")
    return on_fold(data, chosen["fold"], num_folds=chosen["folds"], seed=chosen.get("split_seed", 0))


def _size(settings: RunSettings, given: Given, data: ImageData) -> int:
    """Small images are used as they are; photographs at the size that the models want."""
    if data.size is not None and data.size <= MAX_RESIDENT_SIZE:
        return data.size
    wanted = _wanted_size(settings, given)
    return wanted if data.size is None else min(wanted, data.size)


def _wanted_size(settings: RunSettings, given: Given) -> int:
    models = [model for model in (settings.student, settings.teacher) if model]
    named = [(name, model["size"]) for model in models for name in teacher_names(model) if not name.startswith(OBJECT)]
    specs = [model.spec for model in (given.teacher, given.student) if isinstance(model, Classifier)]
    sizes = [largest_side(size) or default_size(name) for name, size in named]
    sizes += [max(spec.size) for spec in specs if spec.size]
    if not sizes:
        raise UserError("the images differ in size and the models do not say which they want: set data.size=224")
    return max(sizes)


def _student(settings: RunSettings, given: Given, data: ImageData, size: int) -> Classifier:
    if given.student is not None:
        return wrapped(given.student, data, size, chosen=settings.student["size"])
    return make_classifier(settings.student, StudentSettings, data, size)


def _add_exits(student: Classifier, settings: RunSettings, image: Tensor) -> list[str]:
    """Early exits, as the settings say; what was done, one line each."""
    chosen = settings.student
    if chosen["exits"] is None:
        own = [key for key in ("exit_lr", "exit_optimizers", "exit_schedules") if chosen[key] is not None]
        if own and branches_of(student.network) is None:
            raise UserError(f"student.{own[0]} is for early exits, and there are none: set student.exits=auto")
        return []
    if not any(METHODS.get(method["name"]).needs_exits for method in settings.method):
        raise UserError(
            "student.exits: nothing would train them: use understudy distill with method=self-distillation, and with "
            "method.kd=0 method.hint=0 for exits that learn from labels alone"
        )
    # Noise: an image of one colour hides differences.
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    with as_user_error("student.exits"):
        return add_exits(student, noise, exits=chosen["exits"], heads=chosen["exit_heads"])


def _prepare(student: Classifier, teacher: Classifier | Ensemble | None, chosen: Tree) -> list[str]:
    """Copy the teacher's layers and freeze, as the settings say; what was done, one line each."""
    notes: list[str] = []
    if chosen["init"] == "teacher":
        if teacher is None:
            raise UserError("student.init=teacher needs a teacher: set teacher=...")
        if isinstance(teacher, Ensemble):
            raise UserError("student.init=teacher needs one teacher, not several: name the one to copy from")
        if isinstance(teacher, AdjustedClassifier) and teacher.merge is not None:
            raise UserError("student.init=teacher needs a teacher with the data's classes in their order")
        copied = copy_matching(student.network, teacher.network)
        notes += [f"copied from the teacher: {line}" for line in copied]
    train, keep = chosen["train"], chosen["freeze_batchnorm"]
    keep = train != "all" if keep is None else keep
    if train != "all" or keep:
        count = freeze(student.network, train=train, batchnorm=keep)
        notes.append(f"student: {count.trainable:,} parameters train, {count.frozen:,} are frozen")
    return notes


def make_method(chosen: Tree, *, compile_it: bool) -> Method:
    """A method from its name and settings.

    Args:
        chosen: As in `RunSettings.method`.
        compile_it: Whether it will be compiled.

    Raises:
        UserError: A setting is wrong, or it cannot be compiled.
    """
    name, settings = split_name(chosen)
    with as_user_error(f"method.{name}"):
        method = METHODS.get(name)(**settings)
    if compile_it and not method.compiles:
        raise UserError(f"train.compile=true is not possible with {name}, which takes a gradient inside its loss")
    return method
