"""Where the scores of a split lie for all the images that it is a sample of."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest

from understudy.evaluation.binning import Floats
from understudy.evaluation.noise_floor import ERRORS, Floor, noise_floors
from understudy.evaluation.per_image import (
    brier_scores,
    entropies,
    hits,
    negative_log_likelihoods,
    probabilities,
    virtual_divergences,
)
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.sampling import ENDS, NUM_SAMPLES, resampled_counts

# Scores that are means over images.
MEANS = ("nll", "brier", "entropy", "confidence", "virtual_kld")
# Not the class-wise one, a sum over so many bins that noise makes most of it: the interval below holds the truth of it
# in half of the splits or less (`docs/evaluation.md`).
BOUNDED_ERRORS = ("ece", "ece_adaptive")


class Interval(NamedTuple):
    """Where a score lies with 95 % confidence.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def score_intervals(
    predictions: Predictions,
    *,
    floors: Mapping[str, Floor] | None = None,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """95 % intervals of the scores over samples of images, of all but the class-wise calibration error.

    Shares get Wilson's interval, which also says something where all images are right; means the percentiles of a
    bootstrap over images. A calibration error is too large by what noise adds, and more so on a resampled split, so
    that percentiles would miss the truth of a calibrated model nearly always: its interval begins at 0 where the floor
    explains it, else at the basic bootstrap's lower end, and reaches as far above the value as the upper percentile
    lies above the median.

    Args:
        predictions: All logits of a split.
        floors: Of these predictions, where they are known already.
        num_samples: Resampled splits.
        seed: Equal seeds give equal intervals.

    Returns:
        By score, as `summary.all_scores` names them.
    """
    said = probabilities(predictions).numpy()
    errors = {name: ERRORS[name](said) for name in BOUNDED_ERRORS}
    floors = floors or noise_floors(predictions, num_samples=num_samples, seed=seed)
    labels = predictions.labels.numpy()[None]
    values = _means(predictions)
    rows = [
        [counts @ values / counts.sum(1, keepdims=True), *(error(labels, counts) for error in errors.values())]
        for counts in resampled_counts(labels.shape[1], num_samples, seed)
    ]
    means, *spreads = (np.concatenate(column) for column in zip(*rows, strict=True))
    intervals = _shares(predictions)
    for name, (low, high) in zip(MEANS, np.quantile(means, ENDS, axis=0).T.tolist(), strict=True):
        intervals[name] = Interval(low, high)
    for (name, error), spread in zip(errors.items(), spreads, strict=True):
        value = float(error(labels, np.ones(labels.shape))[0])
        intervals[name] = _error_interval(value, spread, floors[name])
    return intervals


def share_interval(count: int, total: int) -> Interval:
    """Wilson's 95 % interval of a share."""
    found = binomtest(count, total).proportion_ci(0.95, "wilson")
    return Interval(float(found.low), float(found.high))


def _means(predictions: Predictions) -> Floats:
    """What each image adds to the scores in `MEANS` (images, scores)."""
    said = probabilities(predictions)
    brier = brier_scores(said, predictions.labels)
    columns = [negative_log_likelihoods(predictions), brier, entropies(said), said.amax(1)]
    return torch.stack([*columns, virtual_divergences(predictions)], 1).numpy()


def _shares(predictions: Predictions) -> dict[str, Interval]:
    wanted = {"accuracy": 1, "top5": 5} if predictions.logits.shape[1] > 5 else {"accuracy": 1}
    total = len(predictions.labels)
    return {name: share_interval(int(hits(predictions, k).sum()), total) for name, k in wanted.items()}


def _error_interval(value: float, spread: Floats, floor: Floor) -> Interval:
    middle, high = np.quantile(spread, (0.5, ENDS[1])).tolist()
    low = 0.0 if value <= floor.high else max(0.0, 2 * value - high)
    return Interval(low, value + high - middle)
