"""Deep mutual learning from its definition, in float64 with explicit loops (Zhang et al. 2018).

Each gives the loss of one student and its gradient with respect to that student's logits.
"""

from collections.abc import Sequence

import numpy as np
from reference.logit import Array, Loss, log_probabilities


def divergence_from(target: Array, logits: Array, temperature: float) -> Loss:
    """KL from target probabilities (batch, classes) to softened logits, times the squared temperature."""
    num, num_classes = logits.shape
    value, gradient = 0.0, np.zeros_like(logits)
    for i in range(num):
        log_q = log_probabilities(logits[i], temperature)
        for c in range(num_classes):
            value += temperature**2 * target[i, c] * (np.log(target[i, c]) - log_q[c]) / num
            gradient[i, c] = temperature * (np.exp(log_q[c]) - target[i, c]) / num
    return Loss(value, gradient)


def probabilities(logits: Array, temperature: float) -> Array:
    return np.stack([np.exp(log_probabilities(row, temperature)) for row in logits])


def mutual(student: Array, peers: Sequence[Array], how: str, temperature: float = 1.0) -> Loss:
    if how in ("mean", "sum"):
        losses = [divergence_from(probabilities(peer, temperature), student, temperature) for peer in peers]
        factor = 1 / len(peers) if how == "mean" else 1.0
        return Loss(factor * sum(loss.value for loss in losses), factor * sum(loss.gradient for loss in losses))
    if how == "probabilities":
        target = sum(probabilities(peer, temperature) for peer in peers) / len(peers)
    else:
        target = probabilities(sum(peers) / len(peers), temperature)
    return divergence_from(target, student, temperature)


def jensen_shannon(peers: Sequence[Array]) -> float:
    """The mean divergence of the peers from their own average, averaged over the batch."""
    said = [probabilities(peer, 1.0) for peer in peers]
    average, total = sum(said) / len(said), 0.0
    for each in said:
        for i in range(len(average)):
            for c in range(average.shape[1]):
                total += each[i, c] * np.log(each[i, c] / average[i, c]) / (len(average) * len(said))
    return total
