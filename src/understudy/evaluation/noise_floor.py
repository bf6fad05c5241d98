"""How large a calibration error chance alone makes: what a perfectly calibrated model shows on this many images."""

from typing import NamedTuple

import numpy as np

from understudy.evaluation.binning import BinnedError, EachClass, EqualMass, EqualWidth
from understudy.evaluation.per_image import probabilities
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.sampling import ENDS, NUM_SAMPLES, drawn_labels


class Floor(NamedTuple):
    """The calibration error of a model that is as sure of the same images and perfectly calibrated.

    Attributes:
        mean: On average over samples.
        low: Smaller in 2.5 % of the samples.
        high: Larger in 2.5 %: an error below it is no sign of miscalibration.
    """

    mean: float
    low: float
    high: float


def binned_errors(predictions: Predictions) -> dict[str, BinnedError]:
    """The calibration errors by name of the score, of samples of these images."""
    said = probabilities(predictions).numpy()
    return {"ece": EqualWidth(said), "ece_adaptive": EqualMass(said), "ece_classwise": EachClass(said)}


def noise_floors(predictions: Predictions, *, num_samples: int = NUM_SAMPLES, seed: int = 0) -> dict[str, Floor]:
    """The floors of `ece`, `ece_adaptive` and `ece_classwise`.

    Args:
        predictions: All logits of a split; the labels are not read, but drawn from the probabilities.
        num_samples: How often labels are drawn.
        seed: Equal seeds give equal floors.
    """
    errors = binned_errors(predictions)
    once = np.ones((1, len(predictions.labels)))
    rows = [
        [error(labels, once) for error in errors.values()]
        for labels in drawn_labels(probabilities(predictions).numpy(), num_samples, seed)
    ]
    found = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return {
        name: Floor(float(values.mean()), *np.quantile(values, ENDS).tolist())
        for name, values in zip(errors, found, strict=True)
    }
