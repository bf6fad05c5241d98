"""Distillation from a stronger teacher (Huang et al., NeurIPS 2022): one minus Pearson's correlation."""

import numpy as np
from reference.complex_step import Numbers, softmax, with_gradient
from reference.logit import Array, Loss


def _correlation(a: Numbers, b: Numbers) -> complex:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    if _constant(a) or _constant(b):
        return 0j
    product, square_a, square_b = 0j, 0j, 0j
    for x, y in zip(a, b, strict=True):
        product += (x - mean_a) * (y - mean_b)
        square_a += (x - mean_a) ** 2
        square_b += (y - mean_b) ** 2
    return product / (np.sqrt(square_a) * np.sqrt(square_b) + 1e-8)


def _constant(numbers: Numbers) -> bool:
    mean = sum(z.real for z in numbers) / len(numbers)
    return sum((z.real - mean) ** 2 for z in numbers) <= 1e-12 * sum(z.real**2 for z in numbers)


def _probabilities(logits: Numbers, temperature: float) -> Numbers:
    return np.array([softmax(row, temperature) for row in logits])


def inter(student: Array, teacher: Array, temperature: float) -> Loss:
    def value(logits: Numbers) -> complex:
        ours, theirs = _probabilities(logits, temperature), _probabilities(teacher, temperature)
        total = sum(_correlation(ours[i], theirs[i]) for i in range(len(logits)))
        return temperature**2 * (1 - total / len(logits))

    return with_gradient(value, student)


def intra(student: Array, teacher: Array, temperature: float) -> Loss:
    def value(logits: Numbers) -> complex:
        ours, theirs = _probabilities(logits, temperature), _probabilities(teacher, temperature)
        num_classes = logits.shape[1]
        total = sum(_correlation(ours[:, c], theirs[:, c]) for c in range(num_classes))
        return temperature**2 * (1 - total / num_classes)

    return with_gradient(value, student)
