"""How far the scores of a split may be off, and how large a calibration error chance alone makes."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from understudy.evaluation.binning import BinnedError, EachClass, EqualMass, EqualWidth, Floats, Ints
from understudy.evaluation.per_image import (
    brier_scores,
    confidences,
    entropies,
    hits,
    negative_log_likelihoods,
    probabilities,
)
from understudy.evaluation.predictions import Predictions

NUM_SAMPLES = 1000
ENDS = (0.025, 0.975)
# Scores that are means over images.
MEANS = ("nll", "brier", "entropy", "confidence")
# Numbers in memory at once.
CHUNK = 2_000_000


class Interval(NamedTuple):
    """Where a score lies with 95 % confidence.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


class Floor(NamedTuple):
    """The calibration error that a perfectly calibrated model shows on this many images.

    Attributes:
        mean: On average over samples.
        low: Smaller in 2.5 % of the samples.
        high: Larger in 2.5 %: an error below it is no sign of miscalibration.
    """

    mean: float
    low: float
    high: float


class Uncertainty(NamedTuple):
    """What is known about the scores of a split besides their values.

    Attributes:
        intervals: By score, as `summary.all_scores` names them.
        floors: Of `ece`, `ece_adaptive` and `ece_classwise`.
    """

    intervals: dict[str, Interval]
    floors: dict[str, Floor]


def uncertainty(predictions: Predictions, *, num_samples: int = NUM_SAMPLES, seed: int = 0) -> Uncertainty:
    """95 % intervals of all scores over other samples of images, and the noise floors of the calibration errors.

    Shares get Wilson's interval, which also says something where all images are right; means the percentiles of a
    bootstrap over images. A calibration error is too large by what noise adds, and more so on a resampled split, so
    that percentiles would miss the truth of a calibrated model nearly always: its interval begins at 0 where the floor
    explains it, else at the basic bootstrap's lower end, and reaches as far above the value as the upper percentile
    lies above the median.

    Args:
        predictions: All logits of a split.
        num_samples: Resampled splits, and as many splits with simulated labels.
        seed: Equal seeds give equal intervals.
    """
    errors, values = binned_errors(predictions), _means(predictions)
    labels = predictions.labels.numpy()[None]
    once = np.ones(labels.shape)
    floors = noise_floors(predictions, num_samples=num_samples, seed=seed)
    rows = [
        [counts @ values / counts.sum(1), *(error(labels, counts) for error in errors.values())]
        for counts in resampled_counts(labels.shape[1], num_samples, seed)
    ]
    means, *spreads = (np.concatenate(column) for column in zip(*rows, strict=True))
    intervals = {**_shares(predictions)}
    for name, (low, high) in zip(MEANS, np.quantile(means, ENDS, axis=0).T.tolist(), strict=True):
        intervals[name] = Interval(low, high)
    for (name, error), spread in zip(errors.items(), spreads, strict=True):
        intervals[name] = _error_interval(float(error(labels, once)[0]), spread, floors[name])
    return Uncertainty(intervals, floors)


def binned_errors(predictions: Predictions) -> dict[str, BinnedError]:
    """The calibration errors by name of the score, of samples of these images."""
    said = probabilities(predictions).numpy()
    return {"ece": EqualWidth(said), "ece_adaptive": EqualMass(said), "ece_classwise": EachClass(said)}


def noise_floors(predictions: Predictions, *, num_samples: int = NUM_SAMPLES, seed: int = 0) -> dict[str, Floor]:
    """The calibration errors of a model that says the same and is always as right as it says.

    Args:
        predictions: All logits of a split; the labels are not read, but drawn from the probabilities.
        num_samples: How often labels are drawn.
        seed: Equal seeds give equal floors.
    """
    errors = binned_errors(predictions)
    once = np.ones((1, len(predictions.labels)))
    drawn = list(zip(*_errors_of_drawn(predictions, errors, once, num_samples, seed), strict=True))
    floors: dict[str, Floor] = {}
    for name, parts in zip(errors, drawn, strict=True):
        found = np.concatenate(parts)
        floors[name] = Floor(float(found.mean()), *np.quantile(found, ENDS).tolist())
    return floors


def _errors_of_drawn(
    predictions: Predictions, errors: Mapping[str, BinnedError], once: Floats, num_samples: int, seed: int
) -> Iterator[list[Floats]]:
    for labels in drawn_labels(probabilities(predictions).numpy(), num_samples, seed):
        yield [error(labels, once) for error in errors.values()]


def resampled_counts(num_images: int, num_samples: int, seed: int) -> Iterator[Floats]:
    """How often each image is in each sample of as many images, drawn with replacement (some samples, images)."""
    random = np.random.default_rng([seed, 0])
    for rows in _chunks(num_samples, num_images):
        drawn = random.integers(num_images, size=(rows, num_images)) + num_images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * num_images)
        yield counts.reshape(rows, num_images).astype(np.float64)


def drawn_labels(said: Floats, num_samples: int, seed: int) -> Iterator[Ints]:
    """Labels that are as likely as the model says (some samples, images)."""
    random = np.random.default_rng([seed, 1])
    num_images, num_classes = said.shape
    image = np.arange(num_images)
    summed = said.cumsum(1)
    summed[:, -1] = 1
    # One sorted row of all images, so that one search finds all labels.
    steps = (summed + image[:, None]).ravel()
    for rows in _chunks(num_samples, num_images):
        found = np.searchsorted(steps, random.random((rows, num_images)) + image, side="right")
        yield np.clip(found - image * num_classes, 0, num_classes - 1)


def _chunks(num_samples: int, num_images: int) -> Iterator[int]:
    size = max(1, CHUNK // num_images)
    for start in range(0, num_samples, size):
        yield min(size, num_samples - start)


def _means(predictions: Predictions) -> Floats:
    """What each image adds to the scores in `MEANS` (images, scores)."""
    columns = (negative_log_likelihoods, brier_scores, entropies, confidences)
    return np.stack([column(predictions).numpy() for column in columns], 1)


def _shares(predictions: Predictions) -> dict[str, Interval]:
    wanted = {"accuracy": 1, "top5": 5} if predictions.logits.shape[1] > 5 else {"accuracy": 1}
    total = len(predictions.labels)
    return {name: share_interval(int(hits(predictions, k).sum()), total) for name, k in wanted.items()}


def share_interval(count: int, total: int) -> Interval:
    """Wilson's 95 % interval of a share."""
    found = binomtest(count, total).proportion_ci(0.95, "wilson")
    return Interval(float(found.low), float(found.high))


def _error_interval(value: float, spread: Floats, floor: Floor) -> Interval:
    middle, high = np.quantile(spread, (0.5, ENDS[1])).tolist()
    low = 0.0 if value <= floor.high else max(0.0, 2 * value - high)
    return Interval(low, value + high - middle)
