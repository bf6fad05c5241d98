"""Multi-level logit distillation (Jin, Wang and Lin, CVPR 2023), equations 3 to 9."""

from collections.abc import Sequence

import numpy as np
from reference.complex_step import Numbers, kl, log_sum_exp, softmax, with_gradient
from reference.logit import Array, Loss


def instance(student: Array, teacher: Array, temperatures: Sequence[float]) -> Loss:
    def log_probabilities(row: Numbers) -> Numbers:
        return np.array([z - log_sum_exp(row) for z in row])

    def value(logits: Numbers) -> complex:
        total = 0j
        for t in temperatures:
            for i in range(len(logits)):
                total += t**2 * kl(log_probabilities(teacher[i] / t), log_probabilities(logits[i] / t)) / len(logits)
        return total

    return with_gradient(value, student)


def _squared_distance(ours: Numbers, theirs: Numbers) -> complex:
    """Of all products of two rows."""
    total = 0j
    for a in range(len(ours)):
        for b in range(len(ours)):
            total += (sum(theirs[a] * theirs[b]) - sum(ours[a] * ours[b])) ** 2
    return total


def _probabilities(logits: Numbers, temperature: float) -> Numbers:
    return np.array([softmax(row, temperature) for row in logits])


def classes(student: Array, teacher: Array, temperatures: Sequence[float]) -> Loss:
    def value(logits: Numbers) -> complex:
        total = 0j
        for t in temperatures:
            total += _squared_distance(_probabilities(logits, t).T, _probabilities(teacher, t).T) / logits.shape[1]
        return total

    return with_gradient(value, student)


def batch(student: Array, teacher: Array, temperatures: Sequence[float]) -> Loss:
    def value(logits: Numbers) -> complex:
        total = 0j
        for t in temperatures:
            total += _squared_distance(_probabilities(logits, t), _probabilities(teacher, t)) / len(logits)
        return total

    return with_gradient(value, student)
