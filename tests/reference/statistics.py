"""Tests and intervals from their definitions in float64: integrals on a grid, every outcome counted."""

import math
from itertools import product

import numpy as np


def t_density(x: float, df: int) -> float:
    log = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    return math.exp(log - (df + 1) / 2 * math.log1p(x * x / df))


def t_tail(x: float, df: int) -> float:
    """P(T > x) for x >= 0: a half less the integral from 0, by Simpson's rule."""
    grid = np.linspace(0, x, 4001)
    values = np.array([t_density(float(point), df) for point in grid])
    weights = np.where(np.arange(4001) % 2 == 1, 4.0, 2.0)
    weights[[0, -1]] = 1
    return 0.5 - float((values * weights).sum()) * (grid[1] - grid[0]) / 3


def t_quantile(tail: float, df: int) -> float:
    low, high = 0.0, 200.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > tail else (low, middle)
    return low


def mean_and_std(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of the mean."""
    mean, std = mean_and_std(values)
    half = t_quantile(0.025, len(values) - 1) * std / math.sqrt(len(values))
    return mean - half, mean + half


def paired_p(treated: list[float], baseline: list[float]) -> float:
    mean, std = mean_and_std([a - b for a, b in zip(treated, baseline, strict=True)])
    error = std / math.sqrt(len(treated))
    return 2 * t_tail(abs(mean) / error, len(treated) - 1)


def sign_p(wins: int, losses: int) -> float:
    """Every sequence of wins and losses is as likely as any other: which share is at least as uneven?"""
    found = wins + losses
    uneven = [abs(2 * sum(outcome) - found) >= abs(wins - losses) for outcome in product((0, 1), repeat=found)]
    return sum(uneven) / len(uneven)


def holm(p_values: list[float]) -> list[float]:
    """Each adjusted value is the smallest level at which the procedure that steps down rejects it."""
    adjusted: list[float] = []
    for one in p_values:
        before = [p for p in p_values if p <= one]
        steps = [(len(p_values) - sum(q < p for q in p_values)) * p for p in before]
        adjusted.append(min(1.0, max(steps)))
    return adjusted


def power(num: int, mean: float, std: float, level: float) -> float:
    """P((sqrt(n) mean / std + Z) / S > t), over a grid of S, whose square is chi2 / df."""
    df, critical = num - 1, t_quantile(level / 2, num - 1)
    total = weight = 0.0
    # S has the density s^(df - 1) exp(-df s^2 / 2), up to a constant.
    for s in np.linspace(1e-6, 6.0, 6001):
        density = math.exp((df - 1) * math.log(s) - df * s * s / 2)
        shift = abs(mean) / std * math.sqrt(num) - critical * s
        total += density * 0.5 * math.erfc(-shift / math.sqrt(2))
        weight += density
    return total / weight
