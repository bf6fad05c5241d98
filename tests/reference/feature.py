"""Losses on feature maps from the papers' equations, in float64 with explicit loops.

Hints: Romero et al. 2015. Attention: Zagoruyko and Komodakis 2017. Neuron selectivity: Huang and Wang 2017, with the
teacher's own term. FSP: Yim et al. 2017, averaged. Mimicry: hints and attention, without a paper of its own.
"""

from collections.abc import Callable
from itertools import product
from math import exp, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Loss(NamedTuple):
    value: float
    gradient: Array


def slope(value: Callable[[Array], float], at: Array, step: float = 2e-4) -> Array:
    """The gradient by central differences of sixth order."""
    gradient = np.zeros_like(at)
    for position in np.ndindex(*at.shape):
        for steps, factor in ((1, 45), (2, -9), (3, 1)):
            for sign in (1, -1):
                moved = at.copy()
                moved[position] += sign * steps * step
                gradient[position] += sign * factor * value(moved) / (60 * step)
    return gradient


def unit(vector: list[float]) -> list[float]:
    length = sqrt(sum(x * x for x in vector))
    return [x / length if length else 0.0 for x in vector]


def dot(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def pooled(image: Array, height: int, width: int, kind: str = "mean") -> Array:
    """(channels, rows, columns) -> (channels, height, width), cell by cell; cells overlap where sizes do not divide."""
    channels, rows, columns = image.shape
    out = np.zeros((channels, height, width))
    for c, h, w in product(range(channels), range(height), range(width)):
        top, bottom = h * rows // height, -(-(h + 1) * rows // height)
        left, right = w * columns // width, -(-(w + 1) * columns // width)
        cell = [image[c, i, j] for i in range(top, bottom) for j in range(left, right)]
        out[c, h, w] = max(cell) if kind == "max" else sum(cell) / len(cell)
    return out


def smaller(first: Array, second: Array, kind: str = "mean") -> tuple[Array, Array]:
    height, width = min(first.shape[1], second.shape[1]), min(first.shape[2], second.shape[2])
    return pooled(first, height, width, kind), pooled(second, height, width, kind)


def hint(student: Array, teacher: Array, norm: str) -> float:
    total = 0.0
    for position in np.ndindex(*student.shape):
        total += (student[position] - teacher[position]) ** 2
    return total / student.size if norm == "mean" else total / 2 / len(student)


def attention_vector(image: Array, mapping: str, p: float) -> list[float]:
    values = []
    for h, w in product(range(image.shape[1]), range(image.shape[2])):
        strengths = [abs(x) if mapping == "sum" else abs(x) ** p for x in image[:, h, w]]
        values.append(max(strengths) if mapping == "max_p" else sum(strengths))
    return unit(values)


def attention(student: Array, teacher: Array, mapping: str = "sum_p", p: float = 2, norm: str = "mean") -> float:
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        maps = [attention_vector(image, mapping, p) for image in smaller(ours, theirs)]
        squares = sum((a - b) ** 2 for a, b in zip(*maps, strict=True))
        total += squares / len(maps[0]) if norm == "mean" else sqrt(squares) / 2
    return total / len(student)


def channel_units(image: Array) -> list[list[float]]:
    return [unit([float(x) for x in channel.ravel()]) for channel in image]


def squared_distance(x: list[float], y: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def bandwidths(student: Array, teacher: Array) -> list[float]:
    found = []
    for ours, theirs in zip(student, teacher, strict=True):
        xs, ys = (channel_units(image) for image in smaller(ours, theirs))
        found.append(sum(squared_distance(x, y) for x in xs for y in ys) / len(xs) / len(ys))
    return found


def nst(student: Array, teacher: Array, kernel: str, widths: list[float] | None = None) -> float:
    """`widths` are the Gaussian's squared bandwidths, which are constants for the gradient."""
    widths = widths or bandwidths(student, teacher)
    total = 0.0
    for ours, theirs, width in zip(student, teacher, widths, strict=True):
        xs, ys = (channel_units(image) for image in smaller(ours, theirs))

        def k(x: list[float], y: list[float], width: float = width) -> float:
            if kernel == "gaussian":
                return exp(-squared_distance(x, y) / (2 * width))
            return dot(x, y) if kernel == "linear" else dot(x, y) ** 2

        def mean(first: list[list[float]], second: list[list[float]], k: Callable[..., float] = k) -> float:
            return sum(k(x, y) for x in first for y in second) / len(first) / len(second)

        total += mean(xs, xs) + mean(ys, ys) - 2 * mean(xs, ys)
    return total / len(student)


def flow(start: Array, end: Array, pooling: str = "mean") -> Array:
    first, second = smaller(start, end, pooling)
    matrix = np.zeros((len(first), len(second)))
    positions = list(product(range(first.shape[1]), range(first.shape[2])))
    for i, j in np.ndindex(*matrix.shape):
        matrix[i, j] = sum(first[i, h, w] * second[j, h, w] for h, w in positions) / len(positions)
    return matrix


def fsp(student: tuple[Array, Array], teacher: tuple[Array, Array], pooling: str = "mean") -> float:
    total, count = 0.0, 0
    for maps in zip(*student, *teacher, strict=True):
        ours, theirs = flow(maps[0], maps[1], pooling), flow(maps[2], maps[3], pooling)
        for position in np.ndindex(*ours.shape):
            total += (ours[position] - theirs[position]) ** 2
            count += 1
    return total / count


def described(features: Array, what: str) -> list[list[float]]:
    if what == "feature":
        return [[float(x) for x in image.ravel()] for image in features]
    if what == "similarity":
        flat = [[float(x) for x in image.ravel()] for image in features]
        return [[dot(x, y) / len(x) for y in flat] for x in flat]
    if what == "gram":
        return [[float(x) for x in flow(image, image).ravel()] for image in features]
    height, width = features.shape[2:]
    return [
        [sum(x * x for x in image[:, h, w]) / len(image) for h, w in product(range(height), range(width))]
        for image in features
    ]


def mimic(student: Array, teacher: Array, what: str, distance: str, scale: str) -> float:
    if what == "attention":
        pairs = [smaller(ours, theirs) for ours, theirs in zip(student, teacher, strict=True)]
        student, teacher = np.stack([ours for ours, _ in pairs]), np.stack([theirs for _, theirs in pairs])
    total, count = 0.0, 0
    for ours, theirs in zip(described(student, what), described(teacher, what), strict=True):
        rows = (unit(ours), unit(theirs)) if scale == "unit" else (ours, theirs)
        for a, b in zip(*rows, strict=True):
            total += abs(a - b) if distance == "l1" else (a - b) ** 2
            count += 1
    return total / count
