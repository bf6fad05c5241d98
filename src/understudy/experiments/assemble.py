"""Settings -> data and models: the one place where everything meets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from understudy.classifier import Classifier, InputSpec
from understudy.data import ImageData, load_data
from understudy.distiller import Distiller
from understudy.engine.device import choose_device, seed_everything
from understudy.engine.distributed import World
from understudy.errors import UserError
from understudy.experiments.assembly import Assembly, as_user_error, split_name
from understudy.experiments.settings import (
    OBJECT,
    DataSettings,
    ModelSettings,
    RunSettings,
    StudentSettings,
    TeacherSettings,
)
from understudy.methods.base import METHODS, Method
from understudy.models import copy_matching, create_model, default_size, freeze
from understudy.teachers.frozen import Teacher

Tree = Mapping[str, Any]


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
    data = given.data or load_data(settings.data["name"], settings=_own_settings(settings.data, DataSettings))
    if not len(data.val):
        raise UserError("there are no validation images to select with: set data.validation=0.1")
    size = settings.data["size"] or data.size or _wanted_size(settings)
    teacher = _teacher(settings, given, data, size)
    seed_everything(settings.seed, deterministic=settings.train.deterministic)
    student = _student(settings, given, data, size)
    notes = [*data.notes, *_prepare(student, teacher, settings.student)]
    methods = [_method(chosen) for chosen in settings.method]
    label = settings.label
    with as_user_error("method"):
        distiller = Distiller(student, methods, label_weight=label.weight, label_smoothing=label.smoothing)
    taps = [tap for method in methods for tap in method.taps().teacher]
    source = Teacher(teacher, taps=taps).to(device) if teacher else None
    made = Assembly(settings, world, device, data, size, student, source, distiller.to(device), tuple(notes))
    distiller.setup(made.sample(), source, labels=data.train.labels)
    distiller.to(device)
    # Adapters have drawn random numbers; dropout must not depend on how many.
    seed_everything(settings.seed, deterministic=settings.train.deterministic)
    return made


def _wanted_size(settings: RunSettings) -> int:
    models = [model for model in (settings.student, settings.teacher) if model]
    named = [model for model in models if not model["name"].startswith(OBJECT)]
    if not named:
        raise UserError("the images differ in size and the models do not say which they want: set data.size=224")
    return max(int(model["size"] or default_size(model["name"])) for model in named)


def _own_settings(chosen: Tree, common: type[DataSettings] | type[ModelSettings]) -> dict[str, Any]:
    return {key: value for key, value in chosen.items() if key not in common.model_fields}


def _teacher(settings: RunSettings, given: Given, data: ImageData, size: int) -> Classifier | None:
    if given.teacher is not None:
        return _wrapped(given.teacher, data, size)
    return _create(settings.teacher, TeacherSettings, data, size) if settings.teacher else None


def _student(settings: RunSettings, given: Given, data: ImageData, size: int) -> Classifier:
    if given.student is not None:
        return _wrapped(given.student, data, size)
    return _create(settings.student, StudentSettings, data, size)


def _create(chosen: Tree, common: type[ModelSettings], data: ImageData, size: int) -> Classifier:
    fresh = not chosen["pretrained"]
    model = create_model(
        chosen["name"],
        classes=data.classes,
        channels=data.channels,
        size=chosen["size"] and (chosen["size"], chosen["size"]),
        mean=chosen["mean"] or (data.mean if fresh else None),
        std=chosen["std"] or (data.std if fresh else None),
        pretrained=chosen["pretrained"],
        weights=chosen["weights"],
        settings=_own_settings(chosen, common),
    )
    if model.spec.size is not None:
        return model
    # It takes images as they come: write down at which size it is trained, for whoever uses it later.
    spec = replace(model.spec, size=(size, size))
    return Classifier(model.network, spec=spec, classes=model.classes, name=model.name, settings=model.settings)


def _wrapped(network: nn.Module, data: ImageData, size: int) -> Classifier:
    if isinstance(network, Classifier):
        return network
    spec = InputSpec((size, size), data.channels, data.mean, data.std)
    return Classifier(network, spec=spec, classes=data.classes)


def _prepare(student: Classifier, teacher: Classifier | None, chosen: Tree) -> list[str]:
    """Copy the teacher's layers and freeze, as the settings say; what was done, one line each."""
    notes: list[str] = []
    if chosen["init"] == "teacher":
        if teacher is None:
            raise UserError("student.init=teacher needs a teacher: set teacher=...")
        copied = copy_matching(student.network, teacher.network)
        notes += [f"copied from the teacher: {line}" for line in copied] or ["no layer of the teacher fits the student"]
    train, keep = chosen["train"], chosen["freeze_batchnorm"]
    keep = train != "all" if keep is None else keep
    if train != "all" or keep:
        count = freeze(student.network, train=train, batchnorm=keep)
        notes.append(f"student: {count.trainable:,} parameters train, {count.frozen:,} are frozen")
    return notes


def _method(chosen: Tree) -> Method:
    name, settings = split_name(chosen)
    with as_user_error(f"method.{name}"):
        return METHODS.get(name)(**settings)
