"""Whether a run asks its teacher only once about each view of an image, and where the answers are kept."""

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.data import Loader
from understudy.data.augment import make_augmentation
from understudy.data.loader import augmentation_seed
from understudy.engine.device import compile_module
from understudy.engine.distributed import World, first_goes_ahead, wait
from understudy.engine.interrupt import Interrupted, StopSignal
from understudy.engine.progress import CountingBar
from understudy.errors import UserError
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.provenance import weights_hash
from understudy.experiments.settings import RunSettings, teacher_names
from understudy.experiments.teaching import measure_teacher
from understudy.taps import network_of
from understudy.teachers import AdjustedClassifier, Ensemble, Teacher, members_of
from understudy.teachers.cached import LOGITS, CachedTeacher
from understudy.teachers.fast import keeps_statistics, quicken
from understudy.teachers.store import Layout, TargetStore, shown_size
from understudy.types import Batch, Outputs

Say = Callable[[str], None]
TargetSource = Callable[[Batch], Outputs]

# Asked at once when a cache is filled.
FILL_BATCH = 256
# Looked through at once; what is missing is known for so many images only.
FILL_BLOCK = 1 << 14
NUM_PROBED = 32
# Roundings of half precision and of another machine stay below, answers to other images or of another network above.
TOLERANCE = 0.02


def make_source(made: Assembly, loader: Loader, targets: Outputs | None, say: Say) -> TargetSource | None:
    """Where the targets of a training come from: the teacher at its fastest, behind a cache where one applies.

    Args:
        made: The run; its teacher has been measured, and calibrated where that was asked for.
        loader: The training batches.
        targets: What the teacher said about some images, for the shapes.
        say: Takes each line that the user should read.

    Raises:
        UserError: `cache=on` where there is nothing that could be cached; the cache cannot be written.
    """
    if made.teacher is None or targets is None:
        return None
    check_cache(made, targets)
    if not _applies(made, targets):
        return fast_teacher(made, compile_it=made.settings.train.compile)
    # Not compiled: how many images it is asked about changes with every batch.
    teacher = fast_teacher(made)
    store = open_store(made, loader, targets, say)
    if not check_store(store, teacher, loader, say):
        return teacher
    if made.settings.cache.fill == "ahead":
        fill_store(made, store, teacher, loader, say)
    return CachedTeacher(teacher, store)


def cache_size(made: Assembly) -> str | None:
    """What the cache of a run takes on the disk when it is full, for people; None where the run has none."""
    targets = made.teacher(made.sample()) if made.teacher else None
    if targets is None or not _applies(made, targets):
        return None
    return _size(made, _layout(made, targets))


def say_asked(source: TargetSource | None, say: Say) -> None:
    """How often a cache was asked and how often the teacher, in this process."""
    if not isinstance(source, CachedTeacher) or not source.seen:
        return
    say(f"cache: the teacher was asked for {source.asked:,} of {source.seen:,} targets")
    _say_too_large(source, say)


def check_cache(made: Assembly, targets: Outputs | None) -> None:
    """Find out before anything is written whether a cache that was asked for is possible.

    Raises:
        UserError: It is not.
    """
    reason = _why_not(targets, made.teacher) if made.teacher and targets else "there is no teacher"
    if made.settings.cache.name == "on" and reason:
        raise UserError(f"cache=on is not possible: {reason}; leave it out")


def build_cache(
    settings: RunSettings, *, world: World | None = None, given: Given | None = None, say: Say = print
) -> Path:
    """Ask the teacher of a run about every view of every image, so that the run itself need not.

    Args:
        settings: Those of the run, with `cache=on`.
        world: The processes that share the work; alone by default.
        given: Objects that take the place of what the settings name.
        say: Takes each line that the user should read.

    Returns:
        The folder of the cache.

    Raises:
        UserError: There is no teacher, its answers to these methods cannot be cached, or there is no room.
    """
    made = assemble(settings, world=world, given=given)
    if made.teacher is None:
        raise UserError("cache build needs a teacher: set for example teacher=runs/teacher")
    measure_teacher(made, say)
    loader = made.train_loader()
    source = make_source(made, loader, made.teacher(made.sample()), say)
    if not isinstance(source, CachedTeacher):
        raise UserError("this cache may only be read and is out of date: choose another cache.path")
    fill_store(made, source.store, source.teacher, loader, say)
    return source.store.path


def fast_teacher(made: Assembly, *, compile_it: bool = False) -> Teacher:
    """The teacher as training asks it, after it was measured: quickened where nobody looks at its layers.

    Args:
        made: The run.
        compile_it: For batches of one size only.
    """
    teacher = made.teacher
    assert teacher is not None
    if not made.settings.train.channels_last:
        return teacher
    if teacher.tapped.taps:
        return teacher.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model = quicken(teacher.tapped.model, made.sample().image, precision=teacher.precision)
    if compile_it:
        compile_module(model, made.device)
    return Teacher(model, precision=teacher.precision, chunk=teacher.chunk)


def open_store(made: Assembly, loader: Loader, targets: Outputs, say: Say) -> TargetStore:
    """The store of this teacher's answers to these images, with room for all views of the run.

    Raises:
        UserError: It cannot be written, or the disk is full.
    """
    chosen, layout = made.settings.cache, _layout(made, targets)
    key = target_key(made, loader)
    digest = hashlib.sha256(json.dumps([key, layout], sort_keys=True).encode()).hexdigest()
    path = Path(chosen.path) / digest[:16]
    say(f"cache {path}: {_size(made, layout)} in {chosen.precision}")
    with first_goes_ahead(made.world):
        store = TargetStore.create(path, {**key, "about": _about(made)}, layout)
        store.reserve(_num_views(made))
        store.touch()
    return store


def target_key(made: Assembly, loader: Loader) -> dict[str, Any]:
    """Everything that a teacher's answer about a view of an image depends on."""
    assert made.teacher is not None
    return {
        "teacher": teacher_hash(made.teacher.tapped.model),
        "computed": [str(made.teacher.precision), made.device.type, made.settings.train.channels_last],
        "images": [loader.content(), made.data.channels, made.size],
        "augmentation": repr(make_augmentation(made.augmentation())),
        "seed": augmentation_seed(made.settings.seed, made.views()),
    }


def teacher_hash(model: nn.Module) -> str:
    """SHA-256 over weights, structure, preprocessing, merged classes and temperatures, in hexadecimal."""
    digest = hashlib.sha256(repr(network_of(model)).encode())
    for member in members_of(model):
        digest.update(weights_hash(member).encode())
        digest.update(repr(getattr(member, "spec", None)).encode())
        if isinstance(member, AdjustedClassifier):
            groups = None if member.merge is None else [member.merge.index.tolist(), member.merge.missing.tolist()]
            digest.update(repr((groups, float(member.temperature))).encode())
    if isinstance(model, Ensemble):
        digest.update(repr((model.average, model.shares, model.temperature)).encode())
    return digest.hexdigest()


def check_store(store: TargetStore, teacher: Teacher, loader: Loader, say: Say) -> bool:
    """Ask the teacher again about a few rows: what the key cannot see, such as changed code, shows here.

    A store whose answers are others is emptied.

    Returns:
        Whether the store may be used: not one that is out of date and may only be read.
    """
    written = store.written()
    places = torch.linspace(0, max(0, written.shape[1] - 1), min(NUM_PROBED, written.shape[1])).long()
    view, index = written[:, places]
    found, there = store.read(view, index)
    if not there.any():
        return True
    batch = next(iter(loader.serve([(view[there], index[there])])))
    answers: Outputs = teacher(batch)
    now = store.rounded({LOGITS: answers.logits, **answers.features})
    if not any(_differ(found[name][there], now[name]) for name in now):
        return True
    what = "built anew" if store.writable else "left alone, since it may only be read"
    say(f"warning: the cache {store.path} holds answers of other code or images: it is {what}")
    store.clear()
    return store.writable


def fill_store(made: Assembly, store: TargetStore, teacher: Teacher, loader: Loader, say: Say) -> None:
    """Ask the teacher about everything that is missing, each process about its share.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; what was asked for is kept, and the same call goes on.
    """
    wait()
    views, world = _num_views(made), made.world
    share = torch.arange(store.layout.num_images).tensor_split(world.size)[world.rank]
    cached = CachedTeacher(teacher, store)
    bar, done = CountingBar("asking the teacher", show=world.first), 0
    # Each process stops by itself: nobody waits for another one here.
    with StopSignal(World(), made.device) as stop:
        for view, block in product(range(views), share.split(FILL_BLOCK)):
            missing = store.missing(view, block)
            chosen = [(torch.full_like(part, view), part) for part in missing.split(FILL_BATCH) if len(part)]
            for batch in loader.serve(chosen):
                cached(batch)
                bar(min(done + cached.asked % FILL_BLOCK, done + len(block) - 1), views * len(share))
                if stop.seen(together=False):
                    store.flush()
                    say(f"stopped after {cached.asked:,} targets, which are kept: the same command goes on from there")
                    raise Interrupted
            done += len(block)
            bar(done, views * len(share))
    store.flush()
    wait()
    say(f"cache: asked the teacher for {cached.asked:,} targets{' in this process' if world.size > 1 else ''}")
    _say_too_large(cached, say)


def _applies(made: Assembly, targets: Outputs) -> bool:
    """Whether the settings, and what the methods read, give this run a cache."""
    chosen, views = made.settings.cache, made.views()
    repeats = views is not None and views < made.settings.train.epochs
    wanted = chosen.name == "on" or (chosen.name == "auto" and repeats)
    return wanted and made.teacher is not None and _why_not(targets, made.teacher) is None


def _layout(made: Assembly, targets: Outputs) -> Layout:
    chosen = made.settings.cache
    num_images = len(made.data.train) + len(made.data.unlabelled or ())
    fields = {LOGITS: targets.logits.shape[1], **{tap: value.shape[1] for tap, value in targets.features.items()}}
    if chosen.topk is not None and chosen.topk >= fields[LOGITS]:
        raise UserError(f"cache.topk={chosen.topk} must be less than the {fields[LOGITS]} classes: leave it out")
    return Layout(num_images, fields, chosen.precision, chosen.topk)


def _size(made: Assembly, layout: Layout) -> str:
    views = _num_views(made)
    return f"{layout.num_images:,} images x {views} views take {shown_size(layout.num_bytes(views))}"


def _num_views(made: Assembly) -> int:
    """How many views of an image the run shows."""
    return made.views() or made.settings.train.epochs


def _say_too_large(cached: CachedTeacher, say: Say) -> None:
    if cached.too_large:
        say(f"warning: {cached.too_large:,} targets are too large for fp16 and were not kept: set cache.precision=fp32")


def _why_not(targets: Outputs, teacher: Teacher) -> str | None:
    """What keeps the targets from being cached; None if nothing does."""
    if teacher.differentiates:
        return "a method reads the teacher's gradient, which depends on the label"
    if not all(map(keeps_statistics, teacher.modules())):
        return "the teacher's BatchNorm keeps no statistics, so that its answers depend on the batch"
    for tap, feature in targets.features.items():
        if feature.ndim != 2:
            return f"a method reads whole maps of the teacher ({tap}), which would fill the disk"
    return None


def _differ(kept: torch.Tensor, now: torch.Tensor) -> bool:
    scale = now.abs().amax(1).clamp(min=1e-3)
    return bool(((kept - now).abs().amax(1) / scale).mean() > TOLERANCE)


def _about(made: Assembly) -> Mapping[str, Any]:
    """What a reader of the list of caches wants to see; no part of the key."""
    teacher = made.settings.teacher
    return {"teacher": " + ".join(teacher_names(teacher)) if teacher else "", "data": made.data.name}
