import math

import numpy as np
import pytest
from reference import statistics as reference
from scipy.stats import ttest_rel

from understudy.evaluation.statistics import (
    average,
    holm,
    image_test,
    paired_difference,
    pairs_needed,
    pooled,
    sign_test,
)

PLAIN = [0.50, 0.52, 0.47, 0.55, 0.49]
DISTILLED = [0.56, 0.55, 0.53, 0.57, 0.56]


def results(num: int, seed: int) -> tuple[list[float], list[float]]:
    random = np.random.default_rng(seed)
    plain = random.normal(0.9, 0.02, num)
    return (plain + random.normal(0.01, 0.01, num)).tolist(), plain.tolist()


def test_equals_the_paired_t_test() -> None:
    found = paired_difference(DISTILLED, PLAIN)
    scipys = ttest_rel(DISTILLED, PLAIN)
    interval = scipys.confidence_interval(0.95)
    assert found.p_value == pytest.approx(scipys.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(np.mean(DISTILLED) - np.mean(PLAIN))
    assert found.num_pairs == 5
    assert found.significant


@pytest.mark.parametrize("num", [2, 3, 8])
def test_paired_difference_and_average_equal_the_reference(num: int) -> None:
    treated, plain = results(num, seed=num)
    found = paired_difference(treated, plain)
    differences = [a - b for a, b in zip(treated, plain, strict=True)]
    assert (found.low, found.high) == pytest.approx(reference.interval(differences), rel=1e-6)
    assert found.p_value == pytest.approx(reference.paired_p(treated, plain), rel=1e-6)
    mean = average(treated)
    assert (mean.mean, mean.std) == pytest.approx(reference.mean_and_std(treated))
    assert (mean.low, mean.high) == pytest.approx(reference.interval(treated), rel=1e-6)
    assert mean.n == num


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


@pytest.mark.parametrize(
    ("treated", "baseline"),
    [
        ([0.5, 0.6], [0.5, 0.6]),
        ([2.0, 3.0], [1.0, 2.0]),
        # Equal but for rounding.
        ([0.9, 0.8], [0.8, 0.7]),
        ([90.0, 80.0, 70.1], [80.0, 70.0, 60.1]),
    ],
)
def test_of_equal_differences_the_spread_is_not_known(treated: list[float], baseline: list[float]) -> None:
    found = paired_difference(treated, baseline)
    assert found.mean == pytest.approx(treated[0] - baseline[0])
    assert found[1:] == (None, None, None, len(treated))
    assert not found.significant


def test_a_small_spread_is_a_spread() -> None:
    found = paired_difference([0.9, 0.8 + 1e-9], [0.8, 0.7])
    assert found.p_value is not None
    assert found.p_value < 1e-6


@pytest.mark.parametrize(("treated", "baseline"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_pairs_are_needed(treated: list[float], baseline: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more pairs"):
        paired_difference(treated, baseline)


def test_one_run_has_a_mean_and_no_spread() -> None:
    assert average([0.5]) == (0.5, None, 1, None, None)
    with pytest.raises(ValueError, match="one or more"):
        average([])


def test_intervals_cover_as_often_as_they_say() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 5)).tolist()
    found = [paired_difference(row, [0.0] * 5) for row in values]
    covered = [each.low is not None and each.high is not None and each.low < 0 < each.high for each in found]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 0), (0, 5), (4, 2), (7, 1), (5, 5)])
def test_sign_test_equals_the_reference(wins: int, losses: int) -> None:
    treated, baseline = [2.0] * wins + [1.0] * losses + [0.0] * 3, [1.0] * wins + [2.0] * losses + [0.0] * 3
    found = sign_test(treated, baseline)
    assert found[:3] == (wins, losses, 3)
    assert found.p_value == pytest.approx(reference.sign_p(wins, losses) if wins + losses else 1.0)


def test_images_of_one_run_are_mcnemars() -> None:
    treated = np.array([[1, 1, 1, 1, 0, 0, 1, 0]], dtype=bool)
    baseline = np.array([[0, 0, 0, 1, 1, 0, 0, 0]], dtype=bool)
    found = image_test(treated, baseline)
    assert found[:3] == (4, 1, 3)
    assert found.p_value == pytest.approx(reference.sign_p(4, 1))


def test_an_image_counts_once_however_many_runs_there_are() -> None:
    treated = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0]], dtype=bool)
    baseline = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]], dtype=bool)
    # Right in 3, 1, 1, 1 runs against 1, 3, 2, 0.
    assert image_test(treated, baseline)[:3] == (2, 2, 0)
    tripled = image_test(np.tile(treated, (3, 1)), np.tile(baseline, (3, 1)))
    assert tripled == image_test(treated, baseline)
    with pytest.raises(ValueError, match="same runs and images"):
        image_test(treated[:2], baseline)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.3), (-0.5, 0.3), (1.0, 1.2), (0.02, 0.02), (3.0, 0.5)])
def test_pairs_needed_are_the_fewest_with_the_power(mean: float, std: float) -> None:
    num = pairs_needed(mean, std)
    assert num is not None
    assert reference.power(num, mean, std, 0.05) >= 0.8
    if num > 2:
        assert reference.power(num - 1, mean, std, 0.05) < 0.8


def test_pairs_needed_of_nothing_and_of_certainty() -> None:
    assert pairs_needed(0.0, 0.1) is None
    assert pairs_needed(1e-6, 0.1) is None
    assert pairs_needed(0.1, 0.0) == pairs_needed(0.1, 1e-17) == 2
    # Cohen, Statistical Power Analysis, 1988: half a standard deviation takes 34 pairs.
    assert pairs_needed(0.5, 1.0) == 34


@pytest.mark.parametrize("p_values", [[], [0.03], [0.01, 0.04, 0.03], [0.5, 0.9, 0.4], [0.02, 0.02], [0.001, 0.2]])
def test_holm_equals_the_reference(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(reference.holm(p_values))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize("seed", [0, 1])
def test_pooled_values_are_those_of_all_epochs_of_all_runs(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.9, 0.1, (4, 25))
    everything = [float(value) for run in values for value in run]
    mean = sum(everything) / 100
    found = pooled(values)
    assert (found.mean, found.n) == (pytest.approx(mean), 100)
    assert found.std == pytest.approx((sum((value - mean) ** 2 for value in everything) / 99) ** 0.5, abs=1e-12)


def test_pooling_needs_a_value() -> None:
    assert pooled(np.array([[2.0]])) == (2.0, None, 1)
    with pytest.raises(ValueError, match="one or more values"):
        pooled(np.empty((0, 25)))
