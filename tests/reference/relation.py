"""Losses on relations from the papers' equations, in float64 with explicit loops.

SP: Tung and Mori 2019. PKT: Passalis and Tefas 2018, with the mean over pairs and the self-similarity of its code.
CC: Peng et al. 2019. RKD: Park et al. 2019. ICKD: Liu et al. 2021, with the reduction of its code.
"""

from collections.abc import Callable
from math import exp, factorial, log, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def slope(value: Callable[[Array], float], at: Array, step: float = 1e-3) -> Array:
    """The gradient by central differences of fourth order."""
    gradient = np.zeros_like(at)
    for position in np.ndindex(*at.shape):
        found = []
        for steps in (-2, -1, 1, 2):
            moved = at.copy()
            moved[position] += steps * step
            found.append(value(moved))
        gradient[position] = (found[0] - 8 * found[1] + 8 * found[2] - found[3]) / (12 * step)
    return gradient


def inner(x: Array, y: Array) -> float:
    return float(sum(a * b for a, b in zip(x, y, strict=True)))


def norm(x: Array) -> float:
    return sqrt(inner(x, x))


def cosine(x: Array, y: Array) -> float:
    return inner(x, y) / (norm(x) * norm(y))


def normalised_gram(rows: Array) -> Array:
    num = len(rows)
    gram = np.zeros((num, num))
    for i in range(num):
        products = [inner(rows[i], rows[j]) for j in range(num)]
        length = sqrt(sum(product**2 for product in products))
        for j in range(num):
            gram[i, j] = products[j] / length if length else 0.0
    return gram


def sp(student: Array, teacher: Array) -> float:
    num = len(student)
    ours, theirs = (normalised_gram(features.reshape(num, -1)) for features in (student, teacher))
    return sum((theirs[i, j] - ours[i, j]) ** 2 for i in range(num) for j in range(num)) / num**2


def ickd(student: Array, teacher: Array) -> float:
    num, channels = student.shape[:2]
    total = 0.0
    for b in range(num):
        ours = normalised_gram(student[b].reshape(channels, -1))
        theirs = normalised_gram(teacher[b].reshape(channels, -1))
        for i in range(channels):
            for j in range(channels):
                total += (theirs[i, j] - ours[i, j]) ** 2
    return total / (num * channels)


def neighbours(features: Array) -> Array:
    num = len(features)
    probability = np.zeros((num, num))
    for i in range(num):
        kernel = [(1 + cosine(features[i], features[j])) / 2 for j in range(num)]
        for j in range(num):
            probability[i, j] = kernel[j] / sum(kernel)
    return probability


def pkt(student: Array, teacher: Array, epsilon: float = 1e-7) -> float:
    num = len(student)
    ours, theirs = neighbours(student), neighbours(teacher)
    total = 0.0
    for i in range(num):
        for j in range(num):
            total += theirs[i, j] * log((theirs[i, j] + epsilon) / (ours[i, j] + epsilon))
    return total / num**2


def cc(student: Array, teacher: Array, gamma: float = 0.4, order: int = 2) -> float:
    def kernel(x: Array, y: Array) -> float:
        series = sum((2 * gamma) ** p / factorial(p) * cosine(x, y) ** p for p in range(order + 1))
        return exp(-2 * gamma) * series

    num = len(student)
    total = 0.0
    for i in range(num):
        for j in range(num):
            total += (kernel(teacher[i], teacher[j]) - kernel(student[i], student[j])) ** 2
    return total / num**2


def huber(x: float, y: float) -> float:
    distance = abs(x - y)
    return distance**2 / 2 if distance <= 1 else distance - 0.5


def distances(features: Array) -> Array:
    """In units of the mean over pairs that are apart."""
    num = len(features)
    found = np.zeros((num, num))
    for i in range(num):
        for j in range(num):
            found[i, j] = norm(features[i] - features[j])
    apart = [distance for distance in found.flat if distance > 0]
    return found / (sum(apart) / len(apart)) if apart else found


def rkd_distance(student: Array, teacher: Array) -> float:
    num = len(student)
    ours, theirs = distances(student), distances(teacher)
    return sum(huber(ours[i, j], theirs[i, j]) for i in range(num) for j in range(num)) / num**2


def angle(features: Array, i: int, j: int, k: int) -> float:
    """Cosine of the angle at i between the sides to j and k."""
    one, other = features[j] - features[i], features[k] - features[i]
    return cosine(one, other) if norm(one) and norm(other) else 0.0


def rkd_angle(student: Array, teacher: Array) -> float:
    num = len(student)
    total = 0.0
    for i in range(num):
        for j in range(num):
            for k in range(num):
                total += huber(angle(student, i, j, k), angle(teacher, i, j, k))
    return total / num**3
