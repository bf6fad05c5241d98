"""Calibration from its definitions, image by image in float64: Guo et al. (ICML 2017), Brier (1950)."""

import math

import numpy as np
from reference.logit import Array


def probabilities(row: Array) -> list[float]:
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def calibration_error(logits: Array, labels: list[int], num_bins: int) -> float:
    said = [probabilities(row) for row in logits]
    total = 0.0
    for k in range(num_bins):
        inside = [i for i, p in enumerate(said) if k / num_bins < max(p) <= (k + 1) / num_bins]
        if inside:
            confidence = sum(max(said[i]) for i in inside) / len(inside)
            accuracy = sum(said[i].index(max(said[i])) == labels[i] for i in inside) / len(inside)
            total += len(inside) / len(said) * abs(accuracy - confidence)
    return total


def brier(logits: Array, labels: list[int]) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total += sum((p - (c == label)) ** 2 for c, p in enumerate(probabilities(row)))
    return total / len(logits)


def entropy(logits: Array) -> float:
    return float(np.mean([-sum(p * math.log(p) for p in probabilities(row) if p) for row in logits]))
