"""The virtual teacher of Yuan et al. (CVPR 2020) in its three variants, in float64 with explicit loops.

Each gives value and gradient with respect to the student's logits. KL is summed over classes, averaged over the batch.
"""

import numpy as np
from reference.logit import Array, Loss, log_probabilities


def virtual_teacher(labels: list[int], num_classes: int, confidence: float) -> Array:
    rows = [
        [confidence if c == label else (1 - confidence) / (num_classes - 1) for c in range(num_classes)]
        for label in labels
    ]
    return np.array(rows)


def published(logits: Array, labels: list[int], confidence: float, temperature: float) -> Loss:
    teacher = np.array(
        [np.exp(log_probabilities(row, temperature)) for row in virtual_teacher(labels, logits.shape[1], confidence)]
    )
    return _divergence(logits, teacher)


def calibrated(logits: Array, labels: list[int], confidence: float) -> Loss:
    return _divergence(logits, virtual_teacher(labels, logits.shape[1], confidence))


def both(logits: Array, labels: list[int], confidence: float, temperature: float) -> Loss:
    teacher = np.array(
        [np.exp(log_probabilities(row, temperature)) for row in virtual_teacher(labels, logits.shape[1], confidence)]
    )
    inner = _divergence(logits / temperature, teacher)
    return Loss(temperature**2 * inner.value, temperature * inner.gradient)


def _divergence(logits: Array, teacher: Array) -> Loss:
    num, num_classes = logits.shape
    value, gradient = 0.0, np.zeros_like(logits)
    for i in range(num):
        log_q = log_probabilities(logits[i])
        for c in range(num_classes):
            p = teacher[i, c]
            value += p * (np.log(p) - log_q[c]) / num
            gradient[i, c] = (np.exp(log_q[c]) - p) / num
    return Loss(value, gradient)
