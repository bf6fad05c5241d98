"""Accuracy against cost, from one pass over the images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.exits.grid import Floats, threshold_grid
from understudy.exits.logits import ExitLogits
from understudy.exits.outcome import Outcome, replay
from understudy.exits.policy import Policy


class StaticPoint(NamedTuple):
    """One exit that all images take, without the heads before it: a smaller network with nothing to decide.

    Attributes:
        exit: "exit 1", ... in order of depth, then "main".
        accuracy: Share of images that it is right about.
        macs: Multiply-adds of an image.
    """

    exit: str
    accuracy: float
    macs: float


def tradeoff(
    found: ExitLogits,
    *,
    score: str = "entropy",
    temperatures: Sequence[float] | None = None,
) -> list[Outcome]:
    """The best accuracy for each cost: all policies on a grid of thresholds that no other one beats in both.

    Accuracies are those of the images searched on, thus a little too good; `replay` says what they are elsewhere.

    Args:
        found: Of the validation split.
        score: See `understudy.exits.scores.doubt`.
        temperatures: One for each early exit; 1 by default.

    Returns:
        Cheapest first.
    """
    grid = threshold_grid(found, score=score, temperatures=temperatures)
    places = pareto(grid.macs.ravel(), grid.gain.ravel())
    return replay(found, [Policy.of(score, grid.thresholds(place), temperatures) for place in places.tolist()])


def pareto(cost: Floats, worth: Floats) -> NDArray[np.intp]:
    """Places that nothing beats in both: none is as cheap and worth more, or cheaper and worth as much.

    Args:
        cost: (n,).
        worth: (n,).

    Returns:
        Of equal ones the first, by rising cost.
    """
    order = np.lexsort((-worth, cost))
    best = np.maximum.accumulate(worth[order])
    return order[np.concatenate([[True], best[1:] > best[:-1]])]


def static_points(found: ExitLogits) -> list[StaticPoint]:
    """Each exit alone, in order of depth."""
    earlier = torch.cat([found.head_macs.new_zeros(1), found.head_macs.cumsum(0)])
    columns = zip(found.names, found.correct.double().mean(1).tolist(), (found.macs - earlier).tolist(), strict=True)
    return [StaticPoint(*column) for column in columns]
