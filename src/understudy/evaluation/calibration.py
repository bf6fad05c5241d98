"""Whether a model is as sure as it is right (Guo, Pleiss, Sun and Weinberger, On Calibration, ICML 2017).

Everything is computed from all logits of a split. The calibration error of a part is larger than that of the whole: a
perfectly calibrated model has about .11 on batches of 128 images, and about .01 on 10,000.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from understudy.evaluation.predictions import Predictions

NUM_BINS = 15


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
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more, got {num_bins}")
    confidence, label = _probabilities(predictions).max(1)
    right = (label == predictions.labels).double()
    # Not linspace, whose edges are not always the nearest number to k / num_bins.
    inner = torch.arange(1, num_bins, dtype=torch.float64) / num_bins
    place = torch.bucketize(confidence, inner)
    counts = torch.bincount(place, minlength=num_bins)
    means = [torch.bincount(place, column, minlength=num_bins) / counts for column in (confidence, right)]
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
    bins = [part for part in reliability(predictions, num_bins) if part.num_images]
    return sum(part.num_images * abs(part.accuracy - part.confidence) for part in bins) / len(predictions.labels)


def brier_score(predictions: Predictions) -> float:
    """Squared distance of the probabilities from the label, summed over classes, averaged over images; 0..2."""
    target = one_hot(predictions.labels, predictions.logits.shape[1]).double()
    return (_probabilities(predictions) - target).square().sum(1).mean().item()


def mean_entropy(predictions: Predictions) -> float:
    """Entropy of the probabilities in nats, averaged over images; 0 to the logarithm of the number of classes."""
    return torch.special.entr(_probabilities(predictions)).sum(1).mean().item()


def _probabilities(predictions: Predictions) -> Tensor:
    return predictions.logits.double().softmax(1)
