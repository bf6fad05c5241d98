"""Where the stages of a network end: the last module output at each spatial resolution."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]  # no public common class

from understudy.dataflow import Call, Flow, record
from understudy.layout import as_map
from understudy.taps import network_of, size_seen

# They end a network, not a stage.
POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class End(NamedTuple):
    """The end of a stage.

    Attributes:
        layer: What to tap.
        preact: What to tap to read it before its activation: what goes into the activation that ends it or, in a
            pre-activation network, what the BatchNorm behind it gives to one; `layer` where there is neither.
        shape: (channels, height, width).
        activated: Whether `preact` is behind an activation whose input cannot be read.
    """

    layer: str
    preact: str
    shape: tuple[int, ...]
    activated: bool = False

    @property
    def scale(self) -> float:
        """How many times its size can be halved: the logarithm to base 2 of the mean of height and width."""
        return _scale(self.shape)


class Stages(NamedTuple):
    """The stages of one network.

    Attributes:
        ends: One for each resolution, from shallow to deep; empty for a network without maps.
        blocks: The repeated blocks of a network that keeps one resolution, such as a vision transformer; else empty.
        final: The last map, single layers behind the last block included: what the head pools. At most one.
        stem: What goes into the first block: the last map behind a single convolution, before the first stage. At most
            one.
    """

    ends: tuple[End, ...]
    blocks: tuple[End, ...]
    final: tuple[End, ...]
    stem: tuple[End, ...] = ()


def find_stages(model: nn.Module, image: Tensor) -> Stages:
    """Find the ends of the stages by one forward pass in eval mode; the model is left as it was.

    A stage ends at the last layer of its resolution through whose output alone all later layers see the image; layers
    inside a residual block do not qualify, nor do outputs that are overwritten in place. For networks of timm,
    `feature_info` says which layers those are. A stem, a single convolution before stages of several, is no stage.

    Args:
        model: The model, or a `Classifier`: then paths are those of the network inside.
        image: A batch (batch, channels, height, width) as the model takes it.
    """
    finder = _Finder(model, image)
    listed, cuts = finder.listed(), finder.below("")
    ends = finder.by_resolution(listed or cuts)
    blocks = finder.blocks(listed, _scale(finder.shape(ends[0]))) if len(ends) == 1 else []
    final = [cut for cut in cuts if finder.shape(cut)[1:] == finder.shape(ends[-1])[1:]][-1:]
    stages = finder.without_stem(ends)
    found = (stages, blocks, final, finder.stem(cuts, stages))
    return Stages(*(tuple(map(finder.end, calls)) for calls in found))


class _Finder:
    """Reads stages from one recorded forward pass."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        self.network = network_of(model)
        self.size = size_seen(model, image)
        self.flow: Flow = record(model, image)

    def listed(self) -> list[Call]:
        """The layers that timm's `feature_info` names; empty if there is none or it cannot be used."""
        info: Any = getattr(self.network, "feature_info", None)
        if not isinstance(info, list):
            return []
        calls = [self.flow.calls.get(str(entry["module"])) for entry in info if "module" in entry]
        return [call for call in calls if call is not None and call.usable and self.shape(call)]

    def below(self, path: str) -> list[Call]:
        """The stage ends among the parts of a layer, in the order of their calls."""
        children = self.network.get_submodule(path).named_children()
        ends = [end for name, _ in children for end in self._ends(f"{path}.{name}" if path else name)]
        return sorted(ends, key=lambda call: call.time)

    def _ends(self, path: str) -> list[Call]:
        call = self.flow.calls.get(path)
        if call is None:
            return self.below(path)
        whole = [call] if self._is_end(call) else []
        inside = self.below(path) if self._opens(call) else []
        if len({self.shape(end)[1:] for end in inside}) < 2:
            return whole or inside
        return inside if not whole or inside[-1].output is call.output else [*inside, call]

    def _is_end(self, call: Call) -> bool:
        usable = call.usable and not isinstance(call.module, POOLS) and bool(self.shape(call))
        return usable and self.flow.is_cut(call)

    def _opens(self, call: Call) -> bool:
        """Whether to look for stages inside: it gives no map, or halves it more than once, or is a list of blocks."""
        children = list(call.module.children())
        before, after = self._map(call.given), self.shape(call)
        if not children or not after:
            return bool(children)
        halvings = round(_scale(before) - _scale(after)) if before else 0
        is_list = type(call.module) is nn.Sequential and all(list(child.children()) for child in children)
        return halvings > 1 or is_list

    def by_resolution(self, calls: Iterable[Call]) -> list[Call]:
        """The last block at each resolution, or without blocks the last layer; without the pooling at the end."""
        rows: dict[tuple[int, ...], list[Call]] = {}
        for call in calls:
            rows.setdefault(self.shape(call)[1:], []).append(call)
        ends = [([call for call in row if not _is_leaf(call)] or row)[-1] for row in rows.values()]
        ends.sort(key=lambda call: call.time)
        if len(ends) > 1 and self.shape(ends[-1])[1:] == (1, 1) and _scale(self.shape(ends[-2])) >= 2:
            ends.pop()
        return ends

    def without_stem(self, ends: list[Call]) -> list[Call]:
        """Without what comes before the first block, where every other stage ends with a block of several layers."""
        counts = [self.flow.num_weighted(end) for end in ends]
        first = next((i for i, end in enumerate(ends) if counts[i] > 1 and not _is_leaf(end)), 0)
        deep = all(after - before > 1 for before, after in pairwise(counts[max(first - 1, 0) :]))
        return ends[first:] if deep and not any(map(_is_leaf, ends[first:])) else ends

    def stem(self, cuts: list[Call], stages: list[Call]) -> list[Call]:
        """The last of the layers behind a single convolution that do not belong to the first stage."""
        single = [cut for cut in cuts if self.flow.num_weighted(cut) == 1]
        return single[-1:] if stages and self.flow.num_weighted(stages[0]) > 1 else []

    def blocks(self, listed: list[Call], scale: float) -> list[Call]:
        """The longest row of layers of one class in one place, all at the only resolution."""
        if listed:
            return listed
        rows: dict[tuple[str, type[nn.Module]], list[Call]] = {}
        for path, call in self.flow.calls.items():
            if self._is_end(call) and _scale(self.shape(call)) == scale:
                rows.setdefault((path.rpartition(".")[0], type(call.module)), []).append(call)
        longest = max(rows.values(), key=lambda row: (len(row), row[-1].time))
        return longest if len(longest) > 1 else []

    def end(self, call: Call) -> End:
        preact = self._preact(call)
        return End(call.path, preact or call.path, self.shape(call), activated=call.activated and preact is None)

    def _preact(self, call: Call) -> str | None:
        if call.activated:
            return self._readable(self.flow.before_activation(call.output))
        norms = [other for other in self.flow.calls.values() if isinstance(other.module, _BatchNorm)]
        for norm in norms:
            if norm.given is call.output:
                # The activation may be a part of it, as in networks of timm.
                raw = self.flow.before_activation(norm.output) if norm.activated else norm.output
                return self._readable(raw) if self.flow.is_activated_later(raw) else None
        return None

    def _readable(self, raw: object) -> str | None:
        """What to tap to see a tensor that goes into an activation: the layer that gives it, or the activation."""
        calls = sorted(self.flow.calls.values(), key=lambda call: call.time)
        giving = [call.path for call in calls if call.output is raw and call.usable and not call.activated]
        taking = [call.path for call in calls if call.given is raw and call.activates and call.usable_input]
        return next(iter([*giving[-1:], *(f"{path}:input" for path in taking[-1:])]), None)

    def shape(self, call: Call) -> tuple[int, ...]:
        """(channels, height, width), or empty for what is no map."""
        return self._map(call.output)

    def _map(self, value: object) -> tuple[int, ...]:
        if not isinstance(value, Tensor):
            return ()
        shape = as_map(value, self.size).shape[1:]
        return tuple(shape) if len(shape) == 3 else ()


def _is_leaf(call: Call) -> bool:
    return not list(call.module.children())


def _scale(shape: tuple[int, ...]) -> float:
    return math.log2(shape[1] * shape[2]) / 2
