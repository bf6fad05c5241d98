"""Be Your Own Teacher from its definition, in float64 with explicit loops (Zhang et al. 2019)."""

from collections.abc import Sequence

import numpy as np
from reference.logit import Array, Loss, log_probabilities


def teacher_probabilities(exits: Sequence[Array], teacher: str, temperature: float) -> Array:
    def softened(logits: Array) -> Array:
        return np.stack([np.exp(log_probabilities(row, temperature)) for row in logits])

    if teacher == "deepest":
        return softened(exits[-1])
    if teacher == "logits":
        return softened(sum(exits) / len(exits))
    return sum(softened(logits) for logits in exits) / len(exits)


def distilled(exits: Sequence[Array], teacher: str, temperature: float, factors: Sequence[float]) -> list[Loss]:
    """Of each exit with its factor: T^2 KL, and the gradient at its own logits; the teacher is a constant."""
    target = teacher_probabilities(exits, teacher, temperature)
    num, num_classes = target.shape
    losses = []
    for logits, factor in zip(exits, factors, strict=True):
        value, gradient = 0.0, np.zeros_like(logits)
        for i in range(num):
            log_q = log_probabilities(logits[i], temperature)
            for c in range(num_classes):
                p = target[i, c]
                value += factor * temperature**2 * p * (np.log(p) - log_q[c]) / num
                gradient[i, c] = factor * temperature * (np.exp(log_q[c]) - p) / num
        losses.append(Loss(value, gradient))
    return losses


def labelled(exits: Sequence[Array], labels: Sequence[int], factors: Sequence[float]) -> list[Loss]:
    losses = []
    for logits, factor in zip(exits, factors, strict=True):
        value, gradient = 0.0, np.zeros_like(logits)
        for i, label in enumerate(labels):
            log_q = log_probabilities(logits[i], 1.0)
            value -= factor * log_q[label] / len(labels)
            for c in range(logits.shape[1]):
                gradient[i, c] = factor * (np.exp(log_q[c]) - (c == label)) / len(labels)
        losses.append(Loss(value, gradient))
    return losses


def hinted(features: Sequence[Array], factors: Sequence[float]) -> list[Loss]:
    """The last feature is the deepest one's; mean over images and over features."""
    deepest = features[-1]
    losses = []
    for feature, factor in zip(features[:-1], factors, strict=True):
        value, gradient = 0.0, np.zeros_like(feature)
        for place in np.ndindex(*feature.shape):
            difference = feature[place] - deepest[place]
            value += factor * difference**2 / feature.size
            gradient[place] = 2 * factor * difference / feature.size
        losses.append(Loss(value, gradient))
    return losses
