"""Pair student layers with teacher layers by depth and shape."""

from itertools import combinations
from typing import NamedTuple

from torch import Tensor, nn

from understudy.adapters import regressor
from understudy.models.head import head_of
from understudy.stages import End, Stages, find_stages
from understudy.taps import Shapes, network_of, probe

# Of two networks that both keep one resolution: how many pairs, as many as most CNNs have stages.
NUM_PAIRS = 4

Pair = tuple[str, str]
"""A student layer and a teacher layer."""


class Match(NamedTuple):
    """An automatic pairing.

    Attributes:
        stages: Ends of the stages, from shallow to deep; empty where a network has no maps.
        middle: The pair in the middle of `stages`: the hint of FitNets.
        last: The deepest pair of `stages`.
        preact: Ends of the stages before their activation (see `understudy.stages.End`); those of `stages` where a
            network has no such layer.
        pooled: What goes into the heads: one vector for each image.
        final: The last maps, which the heads pool; `last` may have a normalisation or convolution behind it.
        stem: What goes into the first blocks; empty where a network has no stem of a single convolution.
        activated: Those of `preact` of which one is behind its activation, because what goes in cannot be read.
    """

    stages: tuple[Pair, ...]
    middle: tuple[Pair, ...]
    last: tuple[Pair, ...]
    preact: tuple[Pair, ...]
    pooled: tuple[Pair, ...]
    final: tuple[Pair, ...] = ()
    stem: tuple[Pair, ...] = ()
    activated: tuple[Pair, ...] = ()


class MatchRow(NamedTuple):
    """One pair of a `Match`, explained.

    Attributes:
        student: Student layer.
        teacher: Teacher layer.
        student_shape: Its shape without the batch axis.
        teacher_shape: Likewise.
        adapter: What `understudy.adapters.regressor` would bring the student's feature to the teacher's shape with;
            `none` where the shapes are equal.
        num_parameters: Parameters of that adapter, with its BatchNorm.
        reason: Why these two.
    """

    student: str
    teacher: str
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]
    adapter: str
    num_parameters: int
    reason: str


def match_layers(student: nn.Module, teacher: nn.Module, image: Tensor) -> Match:
    """Pair the ends of the stages, deepest with deepest, so that resolutions differ least.

    A network with more stages than the other leaves some out. One that keeps a single resolution, such as a vision
    transformer, gives as many of its blocks as the other has stages, evenly spaced, the last one included. Both models
    run once in eval mode and are left as they were.

    Args:
        student: The network to train, or a `Classifier`.
        teacher: The network to learn from.
        image: A batch (batch, channels, height, width) that both take.
    """
    ours, theirs = _stages(student, image), _stages(teacher, image)
    ends = _aligned(*_evened(ours, theirs))
    stages = tuple((a.layer, b.layer) for a, b in ends)
    half = (len(stages) - 1) // 2
    return Match(
        stages=stages,
        middle=stages[half : half + 1] if stages else (),
        last=stages[-1:],
        preact=tuple((a.preact, b.preact) for a, b in ends),
        pooled=_heads(student, teacher),
        final=tuple((a.layer, b.layer) for a, b in zip(ours.final, theirs.final, strict=False)),
        stem=tuple((a.layer, b.layer) for a, b in zip(ours.stem, theirs.stem, strict=False)),
        activated=tuple((a.preact, b.preact) for a, b in ends if a.activated or b.activated),
    )


def explain(match: Match, student: nn.Module, teacher: nn.Module, image: Tensor) -> list[MatchRow]:
    """Shapes, adapter and reason of each pair of `stages` and `pooled`.

    Args:
        match: The result of `match_layers` for the same three.
        student: The network to train.
        teacher: The network to learn from.
        image: A batch (batch, channels, height, width) that both take.
    """
    pairs = (*match.stages, *match.pooled)
    ours = probe(student, _moved(image, student), [layer for layer, _ in pairs])
    theirs = probe(teacher, _moved(image, teacher), [layer for _, layer in pairs])
    return [_row(pair, match, ours, theirs) for pair in pairs]


def _stages(model: nn.Module, image: Tensor) -> Stages:
    return find_stages(model, _moved(image, model))


def _moved(image: Tensor, model: nn.Module) -> Tensor:
    weights = next(model.parameters(), image)
    return image.to(weights.device)


def _evened(ours: Stages, theirs: Stages) -> tuple[tuple[End, ...], tuple[End, ...]]:
    """The ends to pair, with blocks in the place of the only end of a network that keeps one resolution."""
    if ours.blocks and theirs.blocks:
        num = min(NUM_PAIRS, len(ours.blocks), len(theirs.blocks))
        return _spread(ours.blocks, num), _spread(theirs.blocks, num)
    if ours.blocks:
        return _spread(ours.blocks, len(theirs.ends)), theirs.ends
    if theirs.blocks:
        return ours.ends, _spread(theirs.blocks, len(ours.ends))
    return ours.ends, theirs.ends


def _spread(blocks: tuple[End, ...], num: int) -> tuple[End, ...]:
    """`num` of the blocks, evenly spaced, the last one included; all if there are fewer."""
    num = min(num, len(blocks))
    return tuple(blocks[(i + 1) * len(blocks) // num - 1] for i in range(num))


def _aligned(ours: tuple[End, ...], theirs: tuple[End, ...]) -> list[tuple[End, End]]:
    if len(ours) > len(theirs):
        return [(a, b) for b, a in _aligned(theirs, ours)]
    if not ours:
        return []
    chosen = [(*some, theirs[-1]) for some in combinations(theirs[:-1], len(ours) - 1)]
    # Of equals the deepest: what is left out is near the image.
    best = min(reversed(chosen), key=lambda some: sum(abs(a.scale - b.scale) for a, b in zip(ours, some, strict=True)))
    return list(zip(ours, best, strict=True))


def _heads(student: nn.Module, teacher: nn.Module) -> tuple[Pair, ...]:
    try:
        return ((f"{head_of(network_of(student))}:input", f"{head_of(network_of(teacher))}:input"),)
    except ValueError:
        return ()


def _row(pair: Pair, match: Match, ours: Shapes, theirs: Shapes) -> MatchRow:
    student, teacher = ours[pair[0]], theirs[pair[1]]
    reason = _reason(pair, match, student, teacher)
    if student == teacher:
        return MatchRow(*pair, student, teacher, "none", 0, reason)
    if len(student) != len(teacher):
        return MatchRow(*pair, student, teacher, "impossible", 0, "a map and a vector: name other layers")
    adapter = regressor(student, teacher)
    num = sum(parameter.numel() for parameter in adapter.parameters())
    return MatchRow(*pair, student, teacher, _kind(adapter), num, reason)


def _reason(pair: Pair, match: Match, student: tuple[int, ...], teacher: tuple[int, ...]) -> str:
    if pair in match.pooled:
        return "what the heads read"
    size = "same size" if student[1:] == teacher[1:] else "nearest size"
    return f"deepest, {size}" if pair in match.last else size


def _kind(adapter: nn.Module) -> str:
    """The layer of an adapter that has the weights."""
    layer = next(module for module in adapter.modules() if list(module.parameters(recurse=False)))
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return type(layer).__name__
    kernel = "x".join(map(str, layer.kernel_size))
    return f"{type(layer).__name__} {kernel}"
