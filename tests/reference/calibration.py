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


def adaptive_calibration_error(logits: Array, labels: list[int], num_bins: int) -> float:
    """Bins of N / num_bins images each by confidence; an image is in a bin with the part of it that falls there."""
    said = [probabilities(row) for row in logits]
    confidence = [round(max(p), 12) for p in said]
    right = [float(p.index(max(p)) == label) for p, label in zip(said, labels, strict=True)]
    width, total, start = len(said) / num_bins, 0.0, 0
    pieces: list[tuple[float, float, float]] = []
    for level in sorted(set(confidence)):
        same = [i for i, c in enumerate(confidence) if c == level]
        mean = sum(right[i] for i in same) / len(same) - sum(max(said[i]) for i in same) / len(same)
        pieces.append((start, start + len(same), mean))
        start += len(same)
    for k in range(num_bins):
        low, high = k * width, (k + 1) * width
        total += abs(sum(gap * max(0.0, min(high, end) - max(low, begin)) for begin, end, gap in pieces))
    return total / len(said)


def classwise_calibration_error(logits: Array, labels: list[int], num_bins: int) -> float:
    said = [probabilities(row) for row in logits]
    errors: list[float] = []
    for c in range(len(logits[0])):
        error = 0.0
        for k in range(num_bins):
            low, high = k / num_bins, (k + 1) / num_bins
            inside = [i for i, p in enumerate(said) if low < p[c] <= high or (k == 0 and p[c] == 0)]
            if inside:
                share = sum(labels[i] == c for i in inside) / len(inside)
                error += len(inside) / len(said) * abs(share - sum(said[i][c] for i in inside) / len(inside))
        errors.append(error)
    return sum(errors) / len(errors)
