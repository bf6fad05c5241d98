"""Variational information distillation (Ahn et al., CVPR 2019), equations 6 and 7, averaged as in RepDistiller."""

import numpy as np
from reference.complex_step import Numbers, with_gradient
from reference.logit import Array, Loss


def _value(mean: Numbers, teacher: Array, variance: Numbers) -> complex:
    total = 0j
    for image, channel, row, column in np.ndindex(*teacher.shape):
        error = teacher[image, channel, row, column] - mean[image, channel, row, column]
        total += error**2 / (2 * variance[channel]) + np.log(variance[channel]) / 2
    return total / teacher.size


def vid(mean: Array, teacher: Array, variance: Array) -> Loss:
    """Its gradient is that with respect to the mean."""
    return with_gradient(lambda moved: _value(moved, teacher, variance), mean)


def vid_of_variance(mean: Array, teacher: Array, variance: Array) -> Loss:
    """Its gradient is that with respect to the variance."""
    return with_gradient(lambda moved: _value(mean, teacher, moved), variance)
