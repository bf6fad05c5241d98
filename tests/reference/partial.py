"""A Comprehensive Overhaul of Feature Distillation (Heo et al., ICCV 2019), equations 1 to 3."""

import numpy as np
from reference.complex_step import Numbers, with_gradient
from reference.logit import Array, Loss


def ofd_value(student: Numbers, teacher: Array, margin: Array) -> complex:
    """Averaged over the batch, summed over the rest."""
    total = 0j
    for image, channel, row, column in np.ndindex(*teacher.shape):
        target = max(teacher[image, channel, row, column], margin[channel])
        ours = student[image, channel, row, column]
        if ours.real <= target <= 0:
            continue
        total += (target - ours) ** 2
    return total / len(student)


def ofd(student: Array, teacher: Array, margin: Array) -> Loss:
    return with_gradient(lambda moved: ofd_value(moved, teacher, margin), student)


def expected_negative(mean: float, deviation: float) -> float:
    """E[x | x < 0] of a normal variable, by the rectangle rule."""
    width = 1e-4 * deviation
    places = np.arange(-12 * deviation + min(mean, 0), 0, width) + width / 2
    density = np.exp(-((places - mean) ** 2) / (2 * deviation**2))
    return float((places * density).sum() / density.sum())
