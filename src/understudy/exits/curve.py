"""Accuracy against cost, from one pass over the images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.exits.cascade import macs_when_leaving
from understudy.exits.grid import Floats, threshold_grid
from understudy.exits.logits import ExitLogits
from understudy.exits.policy import Policy


class Point(NamedTuple):
    """What one policy does to a split.

    Attributes:
        policy: When an image may leave.
        lost: Images that the main exit is right about and the exit that they take is not.
        won: The other way round.
        images: Number of images.
        main_accuracy: Share of images that the main exit is right about.
        macs: Expected multiply-adds of an image.
        main_macs: Multiply-adds of one image in the network without exits.
    """

    policy: Policy
    lost: int
    won: int
    images: int
    main_accuracy: float
    macs: float
    main_macs: float

    @property
    def drop(self) -> float:
        """Accuracy of the main exit minus that of the cascade."""
        return (self.lost - self.won) / self.images

    @property
    def accuracy(self) -> float:
        """Share of images whose exit is right about them."""
        return self.main_accuracy - self.drop

    @property
    def saving(self) -> float:
        """Share of the multiply-adds of the network without exits that is saved."""
        return 1 - self.macs / self.main_macs


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


def replay(found: ExitLogits, policies: Sequence[Policy]) -> list[Point]:
    """Policies on a split, in their order. They differ in nothing but thresholds: the scores are computed once.

    Args:
        found: Of any split; what was searched on one is reported on another.
        policies: One score and one set of temperatures.
    """
    if not policies:
        return []
    doubts = policies[0].doubts(found.logits)
    assert all(policy[::2] == policies[0][::2] for policy in policies), "policies of one score"
    change = found.correct.int() - found.correct[-1].int()
    main_accuracy = found.correct[-1].double().mean().item()
    made: list[Point] = []
    for policy in policies:
        taken = policy.exit_of(doubts)
        net = change.gather(0, taken[None])[0]
        macs = macs_when_leaving(found, policy)[taken].mean().item()
        counts = int((net < 0).sum()), int((net > 0).sum()), len(net)
        made.append(Point(policy, *counts, main_accuracy, macs, found.main_macs))
    return made


def tradeoff(
    found: ExitLogits,
    *,
    score: str = "entropy",
    temperatures: Sequence[float] | None = None,
    num_levels: int | None = None,
) -> list[Point]:
    """The best accuracy for each cost: all policies on a grid of thresholds that no other one beats in both.

    Accuracies are those of the images searched on, thus a little too good; `replay` says what they are elsewhere.

    Args:
        found: Of the validation split.
        score: See `understudy.exits.scores.doubt`.
        temperatures: One for each early exit; 1 by default.
        num_levels: See `understudy.exits.grid.threshold_grid`.

    Returns:
        Cheapest first.
    """
    grid = threshold_grid(found, score=score, temperatures=temperatures, num_levels=num_levels)
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
    names = [*(f"exit {number}" for number in range(1, len(found.logits))), "main"]
    earlier = torch.cat([found.head_macs.new_zeros(1), found.head_macs.cumsum(0)])
    columns = zip(names, found.correct.double().mean(1).tolist(), (found.macs - earlier).tolist(), strict=True)
    return [StaticPoint(*column) for column in columns]
