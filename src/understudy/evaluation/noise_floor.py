"""How large a calibration error chance alone makes: what a perfectly calibrated model shows on this many images."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from understudy.evaluation.binning import BinnedError, EachClass, EqualMass, EqualWidth, Floats
from understudy.evaluation.per_image import probabilities
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.sampling import ENDS, NUM_SAMPLES, drawn_labels

ERRORS: dict[str, Callable[[Floats], BinnedError]] = {
    "ece": EqualWidth,
    "ece_adaptive": EqualMass,
    "ece_classwise": EachClass,
}
"""The calibration errors by name of the score, from what a model says about the images that are drawn from."""


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


def noise_floors(predictions: Predictions, *, num_samples: int = NUM_SAMPLES, seed: int = 0) -> dict[str, Floor]:
    """The floors of `ece`, `ece_adaptive` and `ece_classwise`.

    Args:
        predictions: All logits of a split; the labels are not read, but drawn from the probabilities.
        num_samples: How often labels are drawn.
        seed: Equal seeds give equal floors.
    """
    said = probabilities(predictions).numpy()
    errors = {name: error(said) for name, error in ERRORS.items()}
    once = np.ones((1, len(predictions.labels)))
    rows = [[error(labels, once) for error in errors.values()] for labels in drawn_labels(said, num_samples, seed)]
    found = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return {
        name: Floor(float(values.mean()), *np.quantile(values, ENDS).tolist())
        for name, values in zip(errors, found, strict=True)
    }
