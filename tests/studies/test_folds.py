"""Folds: what their results say about other training images, against groups of images and in a simulation."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from understudy.evaluation.statistics import paired_difference
from understudy.studies.folds import fold_means, pseudovalues


def test_means_are_over_the_seeds_of_each_fold() -> None:
    values: dict[tuple[int, int | None], float] = {(1, 1): 0.5, (1, 2): 0.7, (2, 1): 0.6, (2, 2): 0.9, (3, 2): 0.8}
    assert fold_means(values) == pytest.approx([0.55, 0.8])
    # Half of a study, in which one fold is not finished.
    assert fold_means({(2, 3): 0.1}) == [0.1]


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_results_that_are_means_over_images_are_as_sure_as_the_groups_of_these(folds: int) -> None:
    """Each fold's result is the mean of what all other groups of images say; these groups are independent."""
    groups = np.random.default_rng(folds).normal(0.3, 1, folds)
    results = [np.mean(np.delete(groups, fold)) for fold in range(folds)]
    found = paired_difference(pseudovalues([float(each) for each in results], folds), [0.0] * folds)
    expected = stats.ttest_1samp(groups, 0)
    interval = expected.confidence_interval(0.95)
    assert (found.mean, found.p_value) == pytest.approx((groups.mean(), expected.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("folds", [5, 10])
@pytest.mark.parametrize("luck", [0.0, 0.3, 1.0])
def test_arms_that_do_not_differ_are_told_apart_once_in_twenty_at_most(folds: int, luck: float) -> None:
    """What an arm gains from an image, and the luck of each run, are random; the arms are equally good on average."""
    random, simulated = np.random.default_rng(1), 1000
    groups = random.normal(size=(simulated, folds))
    results = (groups.sum(1, keepdims=True) - groups) / (folds - 1) + luck * random.normal(size=groups.shape)
    found = share_significant(results, folds)
    assert found == pytest.approx(0.05, abs=0.02) if luck == 0 else found < 0.06
    # The paired t-test takes the folds for independent runs.
    assert share_significant(results, 2) > 0.07


def share_significant(results: NDArray[np.float64], folds: int) -> float:
    pairs = [paired_difference(pseudovalues(row, folds), [0.0] * len(row)) for row in results.tolist()]
    return float(np.mean([pair.significant for pair in pairs]))
