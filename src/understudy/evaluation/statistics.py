"""Whether a difference is more than chance.

Runs are the units: what these numbers say is about other seeds on the same split of the data, unless the data are
divided into folds. `image_test` alone is about other images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
# Relative to the values: differences that spread less are equal but for rounding.
ROUNDING = 1e-12
# Beyond it the noncentral t distribution has no numbers, and the power is 1.
LARGEST_EFFECT = 1e6


class Average(NamedTuple):
    """A mean over runs with its uncertainty.

    Attributes:
        mean: Mean of the values.
        std: Sample standard deviation (ddof 1); None of one value.
        n: Number of values.
        low: Lower end of the 95 % confidence interval of the mean (Student's t); None of one value.
        high: Upper end.
    """

    mean: float
    std: float | None
    n: int
    low: float | None
    high: float | None


def average(values: Sequence[float]) -> Average:
    """Mean, spread and interval of the results of one arm.

    Args:
        values: One for each run; one or more.

    Raises:
        ValueError: There is no value.
    """
    if not len(values):
        raise ValueError("need one or more values to average")
    found = np.asarray(values, float)
    mean = float(found.mean())
    if len(found) == 1:
        return Average(mean, None, 1, None, None)
    spread = float(found.std(ddof=1))
    half = _t_quantile(len(found)) * spread / len(found) ** 0.5
    return Average(mean, spread, len(found), mean - half, mean + half)


class Pooled(NamedTuple):
    """All values of all runs together, which are not independent.

    Attributes:
        mean: Mean of the values.
        std: Sample standard deviation (ddof 1); None of one value.
        n: Number of values.
    """

    mean: float
    std: float | None
    n: int


def pooled(values: NDArray[np.float64]) -> Pooled:
    """Mean and spread over runs and epochs together, as anvelezec/distillation reports them.

    The spread mixes what differs between seeds with how the values change as training goes on, so that it is no error
    of the mean: use `average` of one epoch of each run for that.

    Args:
        values: (runs, epochs), of all epochs.

    Raises:
        ValueError: There is no value.
    """
    if not values.size:
        raise ValueError("need one or more values to pool")
    return Pooled(float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else None, values.size)


class PairedDifference(NamedTuple):
    """The mean difference of paired results with its uncertainty.

    Attributes:
        mean: Mean of the differences.
        low: Lower end of the 95 % confidence interval (Student's t); None where all differences are equal, since their
            spread is then unknown, not 0: few pairs of accuracies, which are counts, are often equal by chance.
        high: Upper end, or None.
        p_value: Two-sided, of the paired t-test, or None.
        num_pairs: Number of pairs.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    num_pairs: int

    @property
    def significant(self) -> bool:
        """Whether there is a 95 % interval and it leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_difference(treated: Sequence[float], baseline: Sequence[float]) -> PairedDifference:
    """Compare two results of the same seeds: treated minus baseline.

    Args:
        treated: One value for each seed.
        baseline: One value for each seed, in the same order.

    Raises:
        ValueError: The numbers of values differ, or there are fewer than two pairs.
    """
    if len(treated) != len(baseline) or len(treated) < 2:
        raise ValueError(f"need two or more pairs, got {len(treated)} and {len(baseline)} values")
    from scipy import stats

    differences = _differences(treated, baseline)
    num = len(differences)
    mean = float(differences.mean())
    spread = float(differences.std(ddof=1))
    if spread <= ROUNDING * float(np.abs([treated, baseline]).max()):
        return PairedDifference(mean, None, None, None, num)
    error = spread / num**0.5
    half = _t_quantile(num) * error
    p_value = 2 * float(stats.t.sf(abs(mean) / error, num - 1))
    return PairedDifference(mean, mean - half, mean + half, p_value, num)


class SignTest(NamedTuple):
    """How often one of a pair was better.

    Attributes:
        wins: Pairs in which the first was better.
        losses: Pairs in which it was worse.
        ties: Pairs without a difference, which say nothing.
        p_value: Exact, two-sided: how likely so uneven a count is if each is as likely as the other.
    """

    wins: int
    losses: int
    ties: int
    p_value: float


def sign_test(treated: Sequence[float], baseline: Sequence[float]) -> SignTest:
    """Count wins and losses of pairs; nothing is assumed about how large the differences are.

    Args:
        treated: One value for each pair.
        baseline: One value for each pair, in the same order.

    Raises:
        ValueError: The numbers of values differ.
    """
    from scipy import stats

    signs = np.sign(_differences(treated, baseline))
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    p_value = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return SignTest(wins, losses, len(signs) - wins - losses, p_value)


def image_test(treated: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> SignTest:
    """Compare which images two arms get right; with one run each it is McNemar's exact test.

    An image is a win if more runs of the first arm than of the second get it right. The runs of an arm make much the
    same mistakes, so they must not count as new images: each image counts once. This says how the trained networks at
    hand would do on other images of this kind; `paired_difference` says how other seeds would do on these images.

    Args:
        treated: Which images are right in each run of an arm (runs, images).
        baseline: The same of the other arm; the same runs and images.

    Raises:
        ValueError: The shapes differ.
    """
    if treated.shape != baseline.shape:
        raise ValueError(f"need the same runs and images, got {treated.shape} and {baseline.shape}")
    return sign_test(treated.sum(0).tolist(), baseline.sum(0).tolist())


def pairs_needed(
    mean: float, std: float, *, power: float = 0.8, level: float = 1 - CONFIDENCE, most: int = 10_000
) -> int | None:
    """How many pairs a paired t-test needs to find a difference of this size and spread.

    Put in what was observed and it is a rough guess: of few pairs, both numbers may be far off.

    Args:
        mean: Mean of the differences.
        std: Their standard deviation.
        power: How likely it is then found, where it is real.
        level: How likely a difference is found where there is none.
        most: Larger numbers are not searched.

    Returns:
        The smallest number, at least 2; None if it is above `most`, or there is no difference.
    """
    if mean == 0 or _power(most, mean, std, level) < power:
        return None
    low, high = 2, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, mean, std, level) >= power else (middle + 1, high)
    return low


def _power(num: int, mean: float, std: float, level: float) -> float:
    from scipy import stats

    if std == 0:
        return 1.0
    effect = min(abs(mean) / std * num**0.5, LARGEST_EFFECT)
    return float(stats.nct.sf(stats.t.ppf(1 - level / 2, num - 1), num - 1, effect))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several comparisons, so that the chance of any false finding stays below the level.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979.

    Args:
        p_values: In any order.

    Returns:
        The adjusted ones in the same order, at most 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _differences(treated: Sequence[float], baseline: Sequence[float]) -> NDArray[np.float64]:
    if len(treated) != len(baseline):
        raise ValueError(f"need pairs, got {len(treated)} and {len(baseline)} values")
    return np.asarray(treated, float) - np.asarray(baseline, float)


def _t_quantile(num: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1))
