"""Accuracy and likelihood from the logits of a whole split."""

from understudy.evaluation.binning import EqualWidth
from understudy.evaluation.calibration import error_of
from understudy.evaluation.per_image import (
    brier_scores,
    entropies,
    hits,
    negative_log_likelihoods,
    probabilities,
)
from understudy.evaluation.predictions import Predictions


def top_accuracy(predictions: Predictions, k: int = 1) -> float:
    """Share of images, in 0..1, whose label is among the k largest logits; 1 if there are at most k classes."""
    return hits(predictions, k).double().mean().item()


def negative_log_likelihood(predictions: Predictions) -> float:
    """Mean of -log p(label), in nats."""
    return negative_log_likelihoods(predictions).mean().item()


def scores(predictions: Predictions) -> dict[str, float]:
    """What is told of every epoch and every run: accuracy, top-5 where there are more than 5 classes, and how sure.

    `nll`, `brier`, `ece` and `entropy` as the functions for each say; `summary.all_scores` has more.
    """
    said = probabilities(predictions)
    found = {
        "accuracy": top_accuracy(predictions),
        "nll": negative_log_likelihood(predictions),
        "brier": brier_scores(said, predictions.labels).mean().item(),
        "ece": error_of(EqualWidth(said.numpy()), predictions),
        "entropy": entropies(said).mean().item(),
    }
    if predictions.logits.shape[1] > 5:
        found["top5"] = top_accuracy(predictions, 5)
    return found


def at_chance(accuracy: float, num_classes: int, num_images: int) -> bool:
    """Whether an accuracy is no better than guessing: at most 1/C plus two standard errors at this number of images."""
    chance = 1 / num_classes
    return accuracy <= chance + 2 * (chance * (1 - chance) / num_images) ** 0.5
