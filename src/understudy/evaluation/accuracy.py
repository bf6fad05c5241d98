"""Accuracy and likelihood from the logits of a whole split."""

from torch.nn.functional import cross_entropy

from understudy.evaluation.predictions import Predictions


def top_accuracy(predictions: Predictions, k: int = 1) -> float:
    """Share of images, in 0..1, whose label is among the k largest logits; 1 if there are at most k classes."""
    k = min(k, predictions.logits.shape[1])
    hits = (predictions.logits.topk(k, dim=1).indices == predictions.labels[:, None]).any(1)
    return hits.double().mean().item()


def negative_log_likelihood(predictions: Predictions) -> float:
    """Mean of -log p(label), in nats."""
    return cross_entropy(predictions.logits.double(), predictions.labels).item()


def scores(predictions: Predictions) -> dict[str, float]:
    """Top-1 accuracy, top-5 accuracy where there are more than 5 classes, and negative log-likelihood."""
    found = {"accuracy": top_accuracy(predictions), "nll": negative_log_likelihood(predictions)}
    if predictions.logits.shape[1] > 5:
        found["top5"] = top_accuracy(predictions, 5)
    return found


def at_chance(accuracy: float, num_classes: int, num_images: int) -> bool:
    """Whether an accuracy is no better than guessing: at most 1/C plus two standard errors at this number of images."""
    chance = 1 / num_classes
    return accuracy <= chance + 2 * (chance * (1 - chance) / num_images) ** 0.5
