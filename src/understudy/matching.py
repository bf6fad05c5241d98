"""Pair student layers with teacher layers by depth and shape."""

from typing import NamedTuple

Pair = tuple[str, str]
"""A student layer and a teacher layer."""


class Match(NamedTuple):
    """An automatic pairing.

    Attributes:
        stages: Ends of the stages, from shallow to deep.
        middle: The pair in the middle of `stages`: the hint of FitNets.
        last: The deepest pair of `stages`.
        preact: Ends of the stages before their last activation; those of `stages` where a network has no such layer.
        pooled: What goes into the heads: one vector for each image.
    """

    stages: tuple[Pair, ...]
    middle: tuple[Pair, ...]
    last: tuple[Pair, ...]
    preact: tuple[Pair, ...]
    pooled: tuple[Pair, ...]
