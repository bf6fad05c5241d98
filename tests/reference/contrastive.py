"""Contrastive representation distillation from the paper's equations, in float64 with loops (Tian et al., 2020).

Normaliser, memory and reduction are those that the authors' code adds to the paper.
"""

from math import exp, log

import numpy as np
from numpy.typing import NDArray
from reference.relation import inner, norm

Array = NDArray[np.float64]
EPSILON = 1e-7


def normalizer(scores: Array, num_images: int) -> float:
    return num_images * sum(exp(score) for row in scores for score in row) / scores.size


def nce(scores: Array, z: float, num_images: int) -> float:
    """The critic h = P / (P + K / N) of a matching pair, and of each that does not match."""
    num, num_negatives = len(scores), scores.shape[1] - 1
    noise = num_negatives / num_images
    total = 0.0
    for row in scores:
        likelihood = [exp(score) / z for score in row]
        total -= log(likelihood[0] / (likelihood[0] + noise + EPSILON))
        for other in likelihood[1:]:
            total -= log(noise / (other + noise + EPSILON))
    return total / num


def unit(x: Array) -> Array:
    return x / norm(x) if norm(x) else x


class Memory:
    """Both memory banks, and the normalisers once they are known."""

    def __init__(self, student: Array, teacher: Array, temperature: float, momentum: float) -> None:
        self.student = student.copy()
        self.teacher = teacher.copy()
        self.temperature = temperature
        self.momentum = momentum
        self.z: tuple[float, float] | None = None

    def step(self, student: Array, teacher: Array, chosen: NDArray[np.int64]) -> float:
        """The loss of embeddings that are not normalised yet, and then the update of the banks."""
        ours, theirs = [unit(row) for row in student], [unit(row) for row in teacher]
        scores = self._scores(ours, self.teacher, chosen), self._scores(theirs, self.student, chosen)
        num_images = len(self.student)
        if self.z is None:
            self.z = normalizer(scores[0], num_images), normalizer(scores[1], num_images)
        loss = sum(nce(side, z, num_images) for side, z in zip(scores, self.z, strict=True))
        for bank, new in ((self.student, ours), (self.teacher, theirs)):
            for b, row in enumerate(chosen[:, 0]):
                bank[row] = unit(self.momentum * bank[row] + (1 - self.momentum) * new[b])
        return loss

    def _scores(self, embeddings: list[Array], bank: Array, chosen: NDArray[np.int64]) -> Array:
        found = np.zeros(chosen.shape)
        for b, k in np.ndindex(*chosen.shape):
            found[b, k] = inner(embeddings[b], bank[chosen[b, k]]) / self.temperature
        return found
