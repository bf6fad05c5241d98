"""Logit standardisation (Sun et al., CVPR 2024), with the unbiased deviation of its code; KD on top of it."""

import numpy as np
from reference.complex_step import Numbers, kl, log_sum_exp, with_gradient
from reference.logit import Array, Loss


def standardized(row: Numbers) -> Numbers:
    mean = sum(row) / len(row)
    variance = sum((z - mean) ** 2 for z in row) / (len(row) - 1)
    if variance.real <= 1e-12 * sum(z.real**2 for z in row):
        return np.zeros(len(row))
    return np.array([(z - mean) / (np.sqrt(variance) + 1e-7) for z in row])


def kd(student: Array, teacher: Array, temperature: float) -> Loss:
    def log_probabilities(row: Numbers) -> Numbers:
        scaled = standardized(row) / temperature
        return np.array([z - log_sum_exp(scaled) for z in scaled])

    def value(logits: Numbers) -> complex:
        total = sum(kl(log_probabilities(teacher[i]), log_probabilities(logits[i])) for i in range(len(logits)))
        return temperature**2 * total / len(logits)

    return with_gradient(value, student)
