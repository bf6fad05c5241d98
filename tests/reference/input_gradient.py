"""Attention transfer on input gradients (Zagoruyko and Komodakis 2017) for softmax(B tanh(A x)), in explicit loops.

The chain rule is written out: no differentiation by machine, in float64.
"""

from math import exp, sqrt, tanh
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Weights(NamedTuple):
    hidden: Array
    output: Array


def gradient_at(weights: Weights, image: Array, label: int) -> Array:
    """Of the cross-entropy with the label at the image (height, width)."""
    pixels = [float(x) for x in image.ravel()]
    hidden = [tanh(sum(a * x for a, x in zip(row, pixels, strict=True))) for row in weights.hidden]
    scores = [exp(sum(b * h for b, h in zip(row, hidden, strict=True))) for row in weights.output]
    errors = [score / sum(scores) - (c == label) for c, score in enumerate(scores)]
    gradient = np.zeros(len(pixels))
    for unit, value in enumerate(hidden):
        behind = sum(error * weights.output[c, unit] for c, error in enumerate(errors))
        for pixel in range(len(pixels)):
            gradient[pixel] += behind * (1 - value**2) * weights.hidden[unit, pixel]
    return gradient.reshape(image.shape)


def half_distance(first: Array, second: Array) -> float:
    return sqrt(sum((a - b) ** 2 for a, b in zip(first.ravel(), second.ravel(), strict=True))) / 2


def gradient_attention(student: Weights, teacher: Weights, images: Array, labels: list[int]) -> float:
    total = 0.0
    for image, label in zip(images, labels, strict=True):
        total += half_distance(gradient_at(student, image, label), gradient_at(teacher, image, label))
    return total / len(images)


def flip_symmetry(student: Weights, images: Array, labels: list[int]) -> float:
    total = 0.0
    for image, label in zip(images, labels, strict=True):
        mirrored = gradient_at(student, image[:, ::-1], label)[:, ::-1]
        total += half_distance(gradient_at(student, image, label), mirrored)
    return total / len(images)
