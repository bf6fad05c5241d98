"""Hierarchical context loss of knowledge review (Chen et al., CVPR 2021), section 3.3."""

import math

import numpy as np
from reference.complex_step import Numbers, with_gradient
from reference.logit import Array, Loss


def _pooled(feature: Numbers, side: int) -> Numbers:
    """Average over a grid of windows that cover the map; they overlap where the side does not divide the size."""
    num, channels, height, width = feature.shape
    found = np.zeros((num, channels, side, side), complex)
    for i, j in np.ndindex(side, side):
        rows = slice(i * height // side, math.ceil((i + 1) * height / side))
        columns = slice(j * width // side, math.ceil((j + 1) * width / side))
        window = feature[:, :, rows, columns]
        found[:, :, i, j] = window.sum((2, 3)) / (window.shape[2] * window.shape[3])
    return found


def _mean_square(one: Numbers, other: Numbers) -> complex:
    return sum(z**2 for z in (one - other).reshape(-1)) / one.size


def hcl(student: Array, teacher: Array) -> Loss:
    def value(moved: Numbers) -> complex:
        total, weight, weights = _mean_square(moved, teacher), 1.0, 1.0
        for side in (4, 2, 1):
            if side < min(student.shape[2:]):
                weight /= 2
                weights += weight
                total += weight * _mean_square(_pooled(moved, side), _pooled(teacher, side))
        return total / weights

    return with_gradient(value, student)
