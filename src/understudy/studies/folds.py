"""What the results of folds say about other training images."""

from collections.abc import Mapping, Sequence

import numpy as np


def fold_means(values: Mapping[tuple[int, int | None], float]) -> list[float]:
    """Means over the seeds of each fold.

    Args:
        values: By seed and fold.
    """
    folds = dict.fromkeys(fold for _, fold in values)
    return [float(np.mean([value for (_, other), value in values.items() if other == fold])) for fold in folds]


def pseudovalues(values: Sequence[float], folds: int) -> list[float]:
    """Values of the same mean whose t-interval says how other training images would do (Tukey's jackknife, 1958).

    A run on all images but one fold is a delete-a-group estimate. Two of them share most of their images, so that they
    differ k - 1 times less than what is learnt from one fold differs from what is learnt from another; that is undone
    here. Where a result is a mean over training images, the interval is that of the means of k separate groups, and
    exact. The luck of a seed, which folds do not share, is enlarged as well: the interval is then too wide, never too
    narrow, and more seeds for each fold make it narrower.

    Args:
        values: The result of each fold that is finished.
        folds: Number of folds.
    """
    mean = float(np.mean(values))
    return [mean + (folds - 1) * (mean - value) for value in values]
