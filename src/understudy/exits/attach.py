"""Give a classifier early exits."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from understudy.branches import HEADS
from understudy.branches.base import IN_A_FILE
from understudy.classifier import Change, Classifier
from understudy.config import complete
from understudy.errors import UserError
from understudy.exits.points import Point, choose_points
from understudy.exits.staged import split_stages
from understudy.models.branched import EARLY_EXITS, attach_exits
from understudy.models.changes import note_change
from understudy.models.head import head_of
from understudy.stages import find_stages
from understudy.taps import Shapes, probe

MAX_HEAD_SHARE = 0.5
"""A head that costs more of what it may save is warned of."""

Head = str | Mapping[str, Any]
"""A name, or a `name` with settings."""


def add_exits(
    model: Classifier,
    image: Tensor,
    *,
    exits: str | int | Sequence[str] = "auto",
    heads: Head | Sequence[Head] = "bottleneck",
) -> list[str]:
    """Put heads beside layers of a classifier; what it says itself, and the keys of its network, stay as they were.

    Args:
        model: Changed in place; a file that it is saved in says so, and is loaded with its exits.
        image: A few images as the model takes them (batch, channels, height, width).
        exits: Where (see `understudy.exits.points.choose_points`).
        heads: What stands there (see `understudy.branches`): one for all, or one for each in order of depth, of which
            the last is repeated.

    Returns:
        What was done, one line each; whether later stages can be left out.

    Raises:
        UserError: A layer or a head is wrong, or the classifier has exits already.
    """
    points = choose_points(model, image, exits)
    layers = [point.layer for point in points]
    shapes = probe(model, image, layers)
    main = head_of(model.network)
    chosen = [_completed(head) for head in _for_each(heads, len(layers))]
    settings: dict[str, Any] = {
        "points": layers,
        "heads": chosen,
        "shapes": [_as_map_shape(layer, shapes[layer]) for layer in layers],
        "deepest": _deepest(model, image, main),
        "classes": len(model.classes),
        "main": main,
    }
    attach_exits(model.network, **settings)
    model.network.exits.to(image.device)
    note_change(model, Change(EARLY_EXITS, settings))
    places = ", ".join(f"{point.layer} ({point.share:.0%} of the multiply-adds)" for point in points)
    return [f"early exits behind {places}", *_notes(model, image, points)]


def _for_each(heads: Head | Sequence[Head], count: int) -> list[Head]:
    given: list[Head] = [heads] if isinstance(heads, str | Mapping) else list(heads)
    if not 0 < len(given) <= count:
        raise UserError(f"student.exit_heads names {len(given)} heads for {count} exits: give one, or one for each")
    return [*given, *[given[-1]] * (count - len(given))]


def _completed(head: Head) -> dict[str, Any]:
    """A head with all its settings, checked against its own signature; a file of the user's checks for itself."""
    chosen = {"name": head} if isinstance(head, str) else dict(head)
    name = str(chosen.pop("name", ""))
    if not name:
        raise UserError(f"student.exit_heads={head} has no name: write {{name: bottleneck, ...}}")
    known = chosen if IN_A_FILE in name else complete(HEADS.get(name), chosen, f"student.exit_heads.{name}")
    return {"name": name, **known}


def _as_map_shape(layer: str, shape: tuple[int, ...]) -> list[int]:
    if len(shape) not in (1, 3):
        raise UserError(f"layer '{layer}' gives features of shape {shape}: an exit needs a map, tokens or a vector")
    return list(shape) if len(shape) == 3 else [*shape, 1, 1]


def _deepest(model: Classifier, image: Tensor, main: str) -> list[int]:
    """The width that the network's own head reads, and the size of the last map."""
    read = f"{main}:input"
    shapes: Shapes = probe(model, image, [read])
    final = find_stages(model, image).final
    size = shapes[read][1:] if len(shapes[read]) == 3 else final[0].shape[1:] if final else (1, 1)
    return [shapes[read][0], *size]


def _notes(model: Classifier, image: Tensor, points: Sequence[Point]) -> list[str]:
    """Whether the exits can save anything: later stages must be left out, and heads cost less than those."""
    try:
        staged = split_stages(model, image)
    except UserError as error:
        return [f"warning: {error}; they can be trained, but save nothing"]
    whole = sum(staged.stage_macs)
    return [
        f"warning: the head behind {point.layer} costs {macs / whole:.0%} of the network, and what follows "
        f"{1 - point.share:.0%}: set student.exit_heads=linear or separable"
        for point, macs in zip(points, staged.head_macs, strict=True)
        if macs > MAX_HEAD_SHARE * (1 - point.share) * whole
    ]
