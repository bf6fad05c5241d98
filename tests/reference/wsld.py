"""Weighted soft labels (Zhou et al., ICLR 2021), equation 10; the weights are constants for the gradient."""

import numpy as np
from reference.complex_step import Numbers, kl, log_sum_exp, with_gradient
from reference.logit import Array, Loss


def _log_probabilities(row: Numbers) -> Numbers:
    return np.array([z - log_sum_exp(row) for z in row])


def weights(student: Array, teacher: Array, labels: list[int]) -> Array:
    found = np.zeros(len(labels))
    for i, label in enumerate(labels):
        ours, theirs = -_log_probabilities(student[i])[label], -_log_probabilities(teacher[i])[label]
        found[i] = 1 - np.exp(-ours / (theirs + 1e-7))
    return found


def weighted_kd(student: Array, teacher: Array, labels: list[int], temperature: float) -> Loss:
    weight = weights(student, teacher, labels)

    def value(logits: Numbers) -> complex:
        total = 0j
        for i in range(len(labels)):
            ours, theirs = _log_probabilities(logits[i] / temperature), _log_probabilities(teacher[i] / temperature)
            total += weight[i] * kl(theirs, ours)
        return temperature**2 * total / len(labels)

    return with_gradient(value, student)
