"""Whether a model is as sure as it is right (Guo, Pleiss, Sun and Weinberger, On Calibration, ICML 2017).

Everything is computed from all logits of a split. The calibration error of a part is larger than that of the whole: a
perfectly calibrated model has about .11 on batches of 128 images, and about .01 on 10,000.
"""

from typing import NamedTuple

import numpy as np

from understudy.evaluation.binning import NUM_BINS, BinnedError, EachClass, EqualMass, EqualWidth, bin_of
from understudy.evaluation.per_image import brier_scores, entropies, probabilities
from understudy.evaluation.predictions import Predictions


class Bin(NamedTuple):
    """The images whose confidence, the largest probability, lies above `low` and at most at `high`.

    Attributes:
        low: Lower end, which belongs to the bin below.
        high: Upper end.
        num_images: Number of images.
        confidence: Their mean confidence; NaN without images.
        accuracy: Share of them that are right; NaN without images.
    """

    low: float
    high: float
    num_images: int
    confidence: float
    accuracy: float


def reliability(predictions: Predictions, num_bins: int = NUM_BINS) -> list[Bin]:
    """Confidence against accuracy in bins of equal width from 0 to 1.

    Args:
        predictions: All logits of a split.
        num_bins: 15 as in the paper.

    Raises:
        ValueError: There is no bin.
    """
    _check_bins(num_bins)
    said = probabilities(predictions).numpy()
    confidence, right = said.max(1), said.argmax(1) == predictions.labels.numpy()
    place = bin_of(confidence, num_bins)
    counts = np.bincount(place, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, column, minlength=num_bins) / counts for column in (confidence, right)]
    rows = zip(counts.tolist(), *(mean.tolist() for mean in means), strict=True)
    return [Bin(k / num_bins, (k + 1) / num_bins, *row) for k, row in enumerate(rows)]


def calibration_error(predictions: Predictions, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error of the top class: |accuracy - confidence| of each bin, weighted by its images; 0..1.

    Args:
        predictions: All logits of a split.
        num_bins: Bins of equal width, 15 as in the paper.

    Raises:
        ValueError: There is no bin.
    """
    _check_bins(num_bins)
    return error_of(EqualWidth(probabilities(predictions).numpy(), num_bins), predictions)


def adaptive_calibration_error(predictions: Predictions, num_bins: int = NUM_BINS) -> float:
    """Calibration error of the top class in bins of equally many images (see `EqualMass`); 0..1.

    Args:
        predictions: All logits of a split.
        num_bins: Bins, as many as of equal width.

    Raises:
        ValueError: There is no bin.
    """
    _check_bins(num_bins)
    return error_of(EqualMass(probabilities(predictions).numpy(), num_bins), predictions)


def classwise_calibration_error(predictions: Predictions, num_bins: int = NUM_BINS) -> float:
    """Calibration error of each class's probability, averaged over all classes (see `EachClass`); 0..1.

    Args:
        predictions: All logits of a split.
        num_bins: Bins of equal width, as many as for the top class.

    Raises:
        ValueError: There is no bin.
    """
    _check_bins(num_bins)
    return error_of(EachClass(probabilities(predictions).numpy(), num_bins), predictions)


def brier_score(predictions: Predictions) -> float:
    """Squared distance of the probabilities from the label, summed over classes, averaged over images; 0..2."""
    return brier_scores(probabilities(predictions), predictions.labels).mean().item()


def mean_entropy(predictions: Predictions) -> float:
    """Entropy of the probabilities in nats, averaged over images; 0 to the logarithm of the number of classes."""
    return entropies(probabilities(predictions)).mean().item()


def error_of(error: BinnedError, predictions: Predictions) -> float:
    """A calibration error of the images that it was made for, each counted once."""
    labels = predictions.labels.numpy()[None]
    return float(error(labels, np.ones(labels.shape))[0])


def _check_bins(num_bins: int) -> None:
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more, got {num_bins}")
