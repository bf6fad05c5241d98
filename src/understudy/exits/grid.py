"""All combinations of thresholds at once.

With L thresholds for each of E exits there are L^E cascades. Each image falls into one cell of a table by where its
doubts lie between the thresholds, and running sums over the table give accuracy and cost of every cascade exactly:
the number of images matters once, not for each combination.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from understudy.exits.logits import ExitLogits
from understudy.exits.policy import NEVER, Policy
from understudy.exits.thresholds import separating

Floats = NDArray[np.float64]
MAX_LEVELS = 100
MAX_CELLS = 1_000_000


class Grid(NamedTuple):
    """Every combination of thresholds on one split; each table has one axis for each early exit.

    Attributes:
        levels: Rising thresholds of each exit, from -inf (closed) to inf.
        gain: Images won minus images lost against the main exit.
        differing: Images won plus images lost.
        macs: Expected multiply-adds of an image.
        images: Number of images.
    """

    levels: tuple[Floats, ...]
    gain: Floats
    differing: Floats
    macs: Floats
    images: int

    def thresholds(self, place: int) -> tuple[float, ...]:
        """The thresholds of a combination, by its place in the flattened tables."""
        places = np.unravel_index(place, self.macs.shape)
        return tuple(float(level[i]) for level, i in zip(self.levels, places, strict=True))


def threshold_grid(
    found: ExitLogits,
    *,
    score: str = "entropy",
    temperatures: Sequence[float] | None = None,
) -> Grid:
    """Accuracy and cost of all combinations of thresholds at quantiles of each exit's doubt.

    There are 100 for each exit, fewer where there would be over a million combinations.

    Args:
        found: Of the images to search on.
        score: See `understudy.exits.scores.doubt`.
        temperatures: One for each early exit; 1 by default.
    """
    num_exits = len(found.logits) - 1
    num_levels = max(2, min(MAX_LEVELS, int(MAX_CELLS ** (1 / num_exits) + 1e-9)))
    doubts = Policy.of(score, [NEVER] * num_exits, temperatures).doubts(found.logits)
    levels = [_quantiles(separating(row).numpy(), row.numpy(), num_levels) for row in doubts]
    # An image leaves at an exit from this level on; behind the last one if its doubt is not a number.
    places = [np.searchsorted(level, row.numpy(), side="right") for level, row in zip(levels, doubts, strict=True)]
    correct = found.correct.numpy()
    shape = tuple(map(len, levels))
    gain, differing, macs = np.zeros((3, *shape))
    left = np.full((1,) * num_exits, float(len(found.labels)))
    for k in range(num_exits):
        if (head := float(found.head_macs[k])) > 0:
            macs[(slice(None),) * k + (slice(1),)] -= head * left
        change = correct[k].astype(float) - correct[-1]
        leaving, won, differ = (_leaving(places[: k + 1], shape, w) for w in (None, change, np.abs(change)))
        gain += won
        differing += differ
        macs += leaving * float(found.macs[k])
        left = left - leaving
    macs = (macs + left * float(found.macs[-1])) / len(found.labels)
    return Grid(tuple(level.astype(np.float64) for level in levels), gain, differing, macs, len(found.labels))


def _quantiles(thresholds: NDArray[np.float32], doubts: NDArray[np.float32], num: int) -> NDArray[np.float32]:
    """Some of all thresholds, so that equally many images lie between two of them."""
    below = np.searchsorted(np.sort(doubts), thresholds)
    places = np.searchsorted(below, np.linspace(0, len(doubts), num))
    return thresholds[np.unique(places.clip(max=len(thresholds) - 1))]


def _leaving(places: Sequence[NDArray[np.intp]], shape: tuple[int, ...], weight: Floats | None) -> Floats:
    """Weight of the images that leave at the last of some exits, for each combination of their thresholds."""
    cells = tuple(size + 1 for size in shape[: len(places)])
    flat = np.bincount(np.ravel_multi_index(tuple(places), cells), weight, minlength=int(np.prod(cells)))
    table = flat.reshape(cells).astype(np.float64)
    for axis in range(len(places)):
        below = table.cumsum(axis)
        total = below.take([-1], axis)
        # An image with place p leaves at the levels from p on; a level behind the last one is none.
        table = (below if axis == len(places) - 1 else total - below).take(range(shape[axis]), axis)
    return table.reshape(table.shape + (1,) * (len(shape) - len(places)))
