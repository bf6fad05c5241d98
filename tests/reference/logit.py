"""Losses on logits from their definitions, in float64 with explicit loops; each gives value and gradient.

Knowledge distillation: Hinton, Vinyals and Dean 2015. Logit matching: Ba and Caruana 2014. Label smoothing: Szegedy
et al. 2016. The gradient is that with respect to the student's logits.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Loss(NamedTuple):
    value: float
    gradient: Array


def log_probabilities(logits: Array, temperature: float = 1.0) -> Array:
    scaled = logits / temperature
    largest = max(scaled)
    return scaled - largest - np.log(sum(np.exp(z - largest) for z in scaled))


def entropy(logits: Array, temperature: float = 1.0) -> float:
    """In nats, averaged over the batch."""
    total = 0.0
    for row in logits:
        for log_probability in log_probabilities(row, temperature):
            total -= np.exp(log_probability) * log_probability
    return total / len(logits)


def kd(student: Array, teacher: Array, temperature: float) -> Loss:
    num, num_classes = student.shape
    value, gradient = 0.0, np.zeros_like(student)
    for i in range(num):
        log_q, log_p = log_probabilities(student[i], temperature), log_probabilities(teacher[i], temperature)
        for c in range(num_classes):
            value += temperature**2 * np.exp(log_p[c]) * (log_p[c] - log_q[c]) / num
            gradient[i, c] = temperature * (np.exp(log_q[c]) - np.exp(log_p[c])) / num
    return Loss(value, gradient)


def logit_mse(student: Array, teacher: Array) -> Loss:
    num, num_classes = student.shape
    value, gradient = 0.0, np.zeros_like(student)
    for i in range(num):
        for c in range(num_classes):
            difference = student[i, c] - teacher[i, c]
            value += difference**2 / (num * num_classes)
            gradient[i, c] = 2 * difference / (num * num_classes)
    return Loss(value, gradient)


def soft_cross_entropy(student: Array, teacher: Array, temperature: float) -> Loss:
    num, num_classes = student.shape
    value, gradient = 0.0, np.zeros_like(student)
    for i in range(num):
        log_q, log_p = log_probabilities(student[i], temperature), log_probabilities(teacher[i], temperature)
        for c in range(num_classes):
            value -= np.exp(log_p[c]) * log_q[c] / num
            gradient[i, c] = (np.exp(log_q[c]) - np.exp(log_p[c])) / (temperature * num)
    return Loss(value, gradient)


def cross_entropy(logits: Array, labels: list[int], smoothing: float = 0.0) -> Loss:
    num, num_classes = logits.shape
    value, gradient = 0.0, np.zeros_like(logits)
    for i in range(num):
        log_q = log_probabilities(logits[i])
        for c in range(num_classes):
            target = smoothing / num_classes + (1 - smoothing if c == labels[i] else 0)
            value -= target * log_q[c] / num
            gradient[i, c] = (np.exp(log_q[c]) - target) / num
    return Loss(value, gradient)
