import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from understudy.evaluation.statistics import paired_difference

PLAIN = [0.50, 0.52, 0.47, 0.55, 0.49]
DISTILLED = [0.56, 0.55, 0.53, 0.57, 0.56]


def test_equals_the_paired_t_test() -> None:
    found = paired_difference(DISTILLED, PLAIN)
    reference = ttest_rel(DISTILLED, PLAIN)
    interval = reference.confidence_interval(0.95)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(np.mean(DISTILLED) - np.mean(PLAIN))
    assert found.num_pairs == 5
    assert found.significant


def test_hand_computed_pairs() -> None:
    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(2 degrees of freedom, 97.5 %) = 4.302653.
    found = paired_difference([2, 4, 6], [1, 2, 3])
    half = 4.302653 / math.sqrt(3)
    assert found.mean == pytest.approx(2)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    assert not found.significant


def test_exchange_changes_the_sign_only() -> None:
    found, swapped = paired_difference(DISTILLED, PLAIN), paired_difference(PLAIN, DISTILLED)
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx((-found.mean, -found.high, -found.low))
    assert swapped.p_value == pytest.approx(found.p_value)
    assert swapped.significant


def test_equal_results_show_nothing() -> None:
    found = paired_difference([0.5, 0.6], [0.5, 0.6])
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert not found.significant


def test_a_difference_without_spread_is_certain() -> None:
    found = paired_difference([2.0, 3.0], [1.0, 2.0])
    assert (found.mean, found.low, found.high, found.p_value) == (1, 1, 1, 0)
    assert found.significant


@pytest.mark.parametrize(("treated", "baseline"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_pairs_are_needed(treated: list[float], baseline: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more pairs"):
        paired_difference(treated, baseline)
