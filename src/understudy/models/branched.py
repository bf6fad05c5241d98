"""A network with early exits beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from understudy.branches import Branches, Place, branches_of, make_head
from understudy.branches.base import ATTRIBUTE
from understudy.errors import UserError
from understudy.models.changes import register_change

EARLY_EXITS = "early-exits"


@register_change(EARLY_EXITS)
def attach_exits(
    network: nn.Module,
    *,
    points: Sequence[str],
    heads: Sequence[Mapping[str, Any]],
    shapes: Sequence[Sequence[int]],
    deepest: Sequence[int],
    classes: int,
    main: str,
) -> None:
    """Give a network heads with fresh weights; its own keys and its own output stay what they were.

    Args:
        network: Changed in place.
        points: Module paths of the layers that the heads read, from shallow to deep.
        heads: For each a `name` with settings (see `understudy.branches.make_head`).
        shapes: (channels, height, width) of what each layer gives.
        deepest: As `Place.deepest`.
        classes: Number of logits.
        main: Module path of the layer that makes the network's own logits.

    Raises:
        UserError: The network has exits already, or a head cannot be made.
    """
    if branches_of(network) is not None:
        raise UserError(f"this {type(network).__name__} has early exits already: leave out student.exits")
    if hasattr(network, ATTRIBUTE):
        raise UserError(f"this {type(network).__name__} has something else called '{ATTRIBUTE}': rename it")
    made: list[nn.Module] = []
    for head, shape in zip(heads, shapes, strict=True):
        place = Place(_triple(shape), _triple(deepest), classes)
        settings = {key: value for key, value in head.items() if key != "name"}
        made.append(make_head(str(head["name"]), place, settings))
    network.add_module(ATTRIBUTE, Branches(points, made, main))


def _triple(shape: Sequence[int]) -> tuple[int, int, int]:
    channels, height, width = shape
    return channels, height, width
