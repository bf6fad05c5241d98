"""Where in a network exits may stand, and where they stand unless somebody says so."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from understudy.dataflow import Flow, record
from understudy.errors import UserError, did_you_mean
from understudy.evaluation.cost import counting
from understudy.models.head import head_of
from understudy.stages import End, find_stages
from understudy.taps import evaluating, layer_names, network_of

NUM_EXITS = 3
"""Early exits of a network by itself, as in Be Your Own Teacher; fewer where it has fewer stages."""

AUTO = "auto"
MIN_STEP = 0.03
"""Nearer together, by their shares of the multiply-adds, two exits would know the same; nearer to the end, one saves
nothing."""


class Point(NamedTuple):
    """A layer behind which an exit stands.

    Attributes:
        layer: Module path.
        share: Multiply-adds of the network up to its end, as a share of all.
    """

    layer: str
    share: float


def choose_points(model: nn.Module, image: Tensor, wanted: str | int | Sequence[str]) -> list[Point]:
    """Layers for exits, from shallow to deep.

    Args:
        model: The network, or a `Classifier`; it is left as it was.
        image: A batch (batch, channels, height, width) as the model takes it.
        wanted: Layers in any order; or how many; or `auto`, which is three. Of the ends of the stages (of the blocks,
            in a network of one resolution) those are taken that divide the multiply-adds most evenly.

    Raises:
        UserError: A layer does not exist, is named twice, is not reached, or makes the logits; or there are not as many
            places as wanted.
    """
    if isinstance(wanted, str) and wanted == AUTO:
        return _evenly(model, image, None)
    if isinstance(wanted, int):
        return _evenly(model, image, wanted)
    return _named(model, image, [wanted] if isinstance(wanted, str) else list(wanted))


def _named(model: nn.Module, image: Tensor, layers: list[str]) -> list[Point]:
    if not layers:
        raise UserError("student.exits is empty: name layers, or set student.exits=auto")
    for layer in layers:
        if layers.count(layer) > 1:
            raise UserError(f"student.exits names '{layer}' twice: leave one out")
    flow = record(model, image)
    known = layer_names(model)
    for layer in layers:
        if layer not in known:
            raise UserError(f"no layer '{layer}' for an exit: {_advice(model, image, layer, known)}")
        if layer not in flow.calls:
            raise UserError(f"layer '{layer}' is never reached by the model's forward: choose another for an exit")
        if f"{head_of(network_of(model))}.".startswith(f"{layer}."):
            raise UserError(f"'{layer}' makes the logits, which is no early exit: {_places(model, image)}")
    layers = sorted(layers, key=lambda layer: flow.calls[layer].time)
    return _with_shares(model, image, layers)


def _advice(model: nn.Module, image: Tensor, layer: str, known: list[str]) -> str:
    return f"{_places(model, image)}, or any other layer ({did_you_mean(layer, known)})"


def _places(model: nn.Module, image: Tensor) -> str:
    return f"the stages end at {', '.join(_candidates(model, image))}"


def _candidates(model: nn.Module, image: Tensor) -> list[str]:
    """The ends of the stages but for the last; the blocks but for the last where there is one resolution."""
    network = network_of(model)
    stages = find_stages(model, image)
    ends = [end for end in stages.blocks or stages.ends if not _holds(end, head_of(network))]
    return [end.layer for end in ends[:-1]]


def _holds(end: End, layer: str) -> bool:
    return f"{layer}.".startswith(f"{end.layer}.")


def _evenly(model: nn.Module, image: Tensor, count: int | None) -> list[Point]:
    """`count` places whose costs are nearest to even shares; None is three, or as many as there are."""
    places = _candidates(model, image)
    if count is not None and count > len(places):
        places = _cuts(model, image)
    available = _apart(_with_shares(model, image, places))
    num = min(NUM_EXITS, len(available)) if count is None else count
    if not 0 < num <= len(available):
        asked = AUTO if count is None else count
        found = ", ".join(f"{point.layer} at {point.share:.0%}" for point in available) or "none"
        raise UserError(
            f"student.exits={asked}, but the places that divide the multiply-adds are {found}: ask for "
            f"{len(available) or 'no exits'}, or name layers"
        )
    chosen: list[Point] = []
    for number in range(num):
        # As many must remain behind it as are still to be chosen.
        first = available.index(chosen[-1]) + 1 if chosen else 0
        within = available[first : len(available) - (num - number - 1)]
        share = (number + 1) / (num + 1)
        chosen.append(min(within, key=lambda point: abs(point.share - share)))
    return chosen


def _apart(points: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in points:
        if point.share - (kept[-1].share if kept else 0) >= MIN_STEP and point.share <= 1 - MIN_STEP:
            kept.append(point)
    return kept


def _cuts(model: nn.Module, image: Tensor) -> list[str]:
    """All blocks through whose output alone the rest sees the image."""
    flow: Flow = record(model, image)
    head = head_of(network_of(model))
    calls = [call for call in flow.calls.values() if call.usable and list(call.module.children())]
    calls = [call for call in calls if flow.is_cut(call) and not f"{head}.".startswith(f"{call.path}.")]
    last: dict[int, str] = {}
    for call in sorted(calls, key=lambda call: call.time):
        last.setdefault(id(call.output), call.path)
    return list(last.values())


def _with_shares(model: nn.Module, image: Tensor, layers: Sequence[str]) -> list[Point]:
    """How much of the network each layer ends at, found by one forward pass."""
    network = network_of(model)
    spent: dict[str, int] = {}
    with counting() as counter:
        handles = [
            network.get_submodule(layer).register_forward_hook(
                lambda *_, layer=layer: spent.update({layer: counter.get_total_flops()})
            )
            for layer in layers
        ]
        try:
            with evaluating(model), torch.no_grad():
                model(image)
        finally:
            for handle in handles:
                handle.remove()
        whole = max(counter.get_total_flops(), 1)
    return [Point(layer, spent[layer] / whole) for layer in layers]
