"""Ensembles and merged classes from their definitions, in float64 with explicit loops.

Ensembles: Hinton, Vinyals and Dean 2015, section 3. Temperature scaling: Guo et al. 2017.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def softened(logits: Array, temperature: float) -> Array:
    powers = np.array([np.exp((z - max(logits)) / temperature) for z in logits])
    return powers / sum(powers)


def mean_of_logits(members: Sequence[Array], shares: Sequence[float]) -> Array:
    mean = np.zeros_like(members[0])
    for logits, share in zip(members, shares, strict=True):
        for i in range(len(logits)):
            for c in range(len(logits[i])):
                mean[i, c] += share * logits[i, c] / sum(shares)
    return mean


def mean_of_probabilities(members: Sequence[Array], shares: Sequence[float], temperature: float) -> Array:
    mean = np.zeros_like(members[0])
    for logits, share in zip(members, shares, strict=True):
        for i in range(len(logits)):
            mean[i] += share * softened(logits[i], temperature) / sum(shares)
    return mean


def merged_probabilities(logits: Array, groups: Sequence[Sequence[int]]) -> Array:
    """The probability of each group, given that the class is in one of them."""
    merged = np.zeros((len(logits), len(groups)))
    for i, row in enumerate(logits):
        probabilities = softened(row, 1.0)
        for g, group in enumerate(groups):
            for c in group:
                merged[i, g] += probabilities[c]
        merged[i] /= sum(merged[i])
    return merged


def likelihood_cost(logits: Array, labels: Sequence[int], temperature: float) -> float:
    cost = 0.0
    for row, label in zip(logits, labels, strict=True):
        cost -= np.log(softened(row, temperature)[label]) / len(labels)
    return cost
