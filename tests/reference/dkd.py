"""Decoupled knowledge distillation (Zhao et al., CVPR 2022), equations 3 to 7."""

import numpy as np
from reference.complex_step import Numbers, kl, log_sum_exp, with_gradient
from reference.logit import Array, Loss


def _binary(row: Numbers, label: int) -> Numbers:
    """Logarithms of the probability of the true class and of that of all others."""
    everything = log_sum_exp(row)
    others = [row[c] for c in range(len(row)) if c != label]
    return np.array([row[label] - everything, log_sum_exp(others) - everything])


def _others(row: Numbers, label: int) -> Numbers:
    """Logarithms of the probabilities among the classes that are not the true one."""
    others = [row[c] for c in range(len(row)) if c != label]
    return np.array([z - log_sum_exp(others) for z in others])


def target(student: Array, teacher: Array, labels: list[int], temperature: float) -> Loss:
    def value(logits: Numbers) -> complex:
        total = 0j
        for i, label in enumerate(labels):
            total += kl(_binary(teacher[i] / temperature, label), _binary(logits[i] / temperature, label))
        return temperature**2 * total / len(labels)

    return with_gradient(value, student)


def nontarget(student: Array, teacher: Array, labels: list[int], temperature: float) -> Loss:
    def value(logits: Numbers) -> complex:
        total = 0j
        for i, label in enumerate(labels):
            total += kl(_others(teacher[i] / temperature, label), _others(logits[i] / temperature, label))
        return temperature**2 * total / len(labels)

    return with_gradient(value, student)
