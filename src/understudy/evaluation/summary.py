"""Everything that is told about a split, as plain values for a file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation.accuracy import scores
from understudy.evaluation.calibration import adaptive_calibration_error, classwise_calibration_error, reliability
from understudy.evaluation.fidelity import fidelity
from understudy.evaluation.intervals import score_intervals
from understudy.evaluation.noise_floor import Floor, noise_floors
from understudy.evaluation.per_class import per_class
from understudy.evaluation.per_image import probabilities, virtual_divergences
from understudy.evaluation.predictions import Predictions

Record = dict[str, Any]


def all_scores(predictions: Predictions) -> dict[str, float]:
    """Every score of a split: those of `accuracy.scores` and what stands below, as `docs/evaluation.md` has them."""
    return {
        **scores(predictions),
        "ece_adaptive": adaptive_calibration_error(predictions),
        "ece_classwise": classwise_calibration_error(predictions),
        "confidence": probabilities(predictions).amax(1).mean().item(),
        "virtual_kld": virtual_divergences(predictions).mean().item(),
    }


def summarise(
    predictions: Predictions,
    classes: Sequence[str],
    *,
    temperature: float | None = None,
    teacher: Predictions | None = None,
) -> Record:
    """What a model does on a split.

    Args:
        predictions: All its logits.
        classes: Names in the order of the logits.
        temperature: Fitted on the validation split: what it changes is told as well.
        teacher: All logits of its teacher on the same images.

    Returns:
        `images`, `scores`, `intervals`, `ece_floor` (and those of the other calibration errors), `per_class`,
        `reliability`, `temperature` and `fidelity`, the last two None without what they need.
    """
    floors = noise_floors(predictions)
    intervals = score_intervals(predictions, floors=floors)
    return {
        "images": len(predictions.labels),
        "scores": all_scores(predictions),
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        **_floors(floors),
        "per_class": [
            {"class": name, "images": found.num_images, "accuracy": found.recall, "precision": found.precision}
            for name, found in zip(classes, per_class(predictions), strict=True)
        ],
        "reliability": _reliability(predictions),
        "temperature": None if temperature is None else _scaled(predictions, temperature),
        "fidelity": None if teacher is None else fidelity(predictions, teacher)._asdict(),
    }


def _scaled(predictions: Predictions, temperature: float) -> Record:
    scaled = predictions._replace(logits=predictions.logits.double() / temperature)
    return {
        "value": temperature,
        "fitted_on": "val",
        "scores": all_scores(scaled),
        **_floors(noise_floors(scaled)),
        "reliability": _reliability(scaled),
    }


def _floors(floors: Mapping[str, Floor]) -> Record:
    return {f"{name}_floor": floor._asdict() for name, floor in floors.items()}


def _reliability(predictions: Predictions) -> list[Record]:
    rows: list[Record] = []
    for low, high, images, *means in reliability(predictions):
        confidence, accuracy = (None if math.isnan(mean) else mean for mean in means)
        rows.append({"low": low, "high": high, "images": images, "confidence": confidence, "accuracy": accuracy})
    return rows
