"""Whether a difference is more than chance."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class PairedDifference(NamedTuple):
    """The mean difference of paired results with its uncertainty.

    Attributes:
        mean: Mean of the differences.
        low: Lower end of the 95 % confidence interval (Student's t).
        high: Upper end.
        p_value: Two-sided, of the paired t-test.
        num_pairs: Number of pairs.
    """

    mean: float
    low: float
    high: float
    p_value: float
    num_pairs: int

    @property
    def significant(self) -> bool:
        """Whether the 95 % interval leaves out 0."""
        return self.low > 0 or self.high < 0


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

    differences = np.asarray(treated, float) - np.asarray(baseline, float)
    mean, spread = float(differences.mean()), float(stats.sem(differences))
    if spread == 0:
        return PairedDifference(mean, mean, mean, 1.0 if mean == 0 else 0.0, len(differences))
    low, high = stats.t.interval(0.95, len(differences) - 1, loc=mean, scale=spread)
    p_value = 2 * float(stats.t.sf(abs(mean) / spread, len(differences) - 1))
    return PairedDifference(mean, float(low), float(high), p_value, len(differences))
