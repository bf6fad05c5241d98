"""Intervals and noise floors: against the bootstrap of scipy, and whether they hold what they promise."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from understudy.evaluation.calibration import adaptive_calibration_error, calibration_error
from understudy.evaluation.intervals import MEANS, score_intervals, share_interval
from understudy.evaluation.noise_floor import noise_floors
from understudy.evaluation.per_image import brier_scores, negative_log_likelihoods, probabilities
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.sampling import CHUNK, drawn_labels, resampled_counts
from understudy.evaluation.summary import all_scores


def saying(num: int, *, seed: int, scale: float = 1.0, num_classes: int = 10) -> Predictions:
    """Labels drawn from what a model says that is then made surer by a factor; 1 is perfectly calibrated."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)
    return Predictions(scale * logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0])


def test_means_have_the_percentiles_of_scipy() -> None:
    found = saying(300, seed=0, scale=1.5)
    intervals = score_intervals(found, num_samples=4000)
    brier = brier_scores(probabilities(found), found.labels)
    for name, column in (("nll", negative_log_likelihoods(found)), ("brier", brier)):
        values = column.numpy()
        expected = stats.bootstrap(
            (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1), batch=500
        ).confidence_interval
        error = values.std() / 300**0.5
        assert intervals[name] == pytest.approx((expected.low, expected.high), abs=0.2 * error)


@pytest.mark.parametrize(("count", "total"), [(0, 20), (13, 20), (20, 20)])
def test_shares_have_wilsons_interval(count: int, total: int) -> None:
    z, share = 1.959964, count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    assert share_interval(count, total) == pytest.approx((middle - half, middle + half), abs=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_every_score_lies_in_its_interval(seed: int) -> None:
    found = saying(200, seed=seed, scale=1.2)
    intervals, scores = score_intervals(found, num_samples=200), all_scores(found)
    # See the module for why it has none.
    assert set(scores) - set(intervals) == {"ece_classwise"}
    for name, (low, high) in intervals.items():
        assert low < scores[name] < high


def test_equal_seeds_give_equal_results() -> None:
    found = saying(200, seed=0)
    assert score_intervals(found, num_samples=50, seed=3) == score_intervals(found, num_samples=50, seed=3)
    assert score_intervals(found, num_samples=50, seed=3) != score_intervals(found, num_samples=50, seed=4)


def test_a_calibrated_model_lies_within_the_floor_and_another_above() -> None:
    for name, error in (("ece", calibration_error), ("ece_adaptive", adaptive_calibration_error)):
        floors = [noise_floors(saying(1000, seed=seed), num_samples=200)[name] for seed in range(20)]
        inside = [floor.low <= error(saying(1000, seed=seed)) <= floor.high for seed, floor in enumerate(floors)]
        assert sum(inside) >= 17
    sure = saying(2000, seed=0, scale=1.5)
    floors = noise_floors(sure, num_samples=200)
    assert all(all_scores(sure)[name] > floor.high for name, floor in floors.items())


def test_the_floor_is_known_where_it_can_be_computed() -> None:
    """All images half sure: the error is |share - 1/2|, a binomial's mean deviation."""
    found = Predictions(torch.zeros(100, 2), torch.zeros(100, dtype=torch.int64))
    floor = noise_floors(found, num_samples=4000)["ece"]
    outcomes = np.abs(np.arange(101) / 100 - 0.5)
    expected = float(outcomes @ stats.binom.pmf(np.arange(101), 100, 0.5))
    assert floor.mean == pytest.approx(expected, rel=0.05)
    assert (floor.low, floor.high) == pytest.approx((0.0, 0.1), abs=0.011)


@pytest.mark.parametrize(("num", "expected"), [(128, 0.11), (1000, 0.038), (10_000, 0.012)])
def test_the_floor_falls_with_the_number_of_images(num: int, expected: float) -> None:
    """About as one over the root of it."""
    assert noise_floors(saying(num, seed=0), num_samples=50)["ece"].mean == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1.1, 1.5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(scale: float) -> None:
    truth = all_scores(saying(400_000, seed=99, scale=scale))
    rounds, held = 60, Counter[str]()
    for seed in range(rounds):
        for name, (low, high) in score_intervals(saying(400, seed=seed, scale=scale), num_samples=200).items():
            held[name] += low <= truth[name] <= high
    assert len(held) == len(truth) - 1
    # 57 of 60 are promised; fewer than 50 has a probability of 1 in 10,000.
    assert all(count >= 50 for count in held.values()), held


def test_samples_are_as_large_as_the_split_and_differ() -> None:
    counts = np.concatenate(list(resampled_counts(CHUNK // 3, 7, seed=0)))
    assert counts.shape == (7, CHUNK // 3)
    assert (counts.sum(1) == CHUNK // 3).all()
    assert len(np.unique(counts[:, :50], axis=0)) == 7
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(1, abs=0.01)


def test_labels_are_drawn_as_often_as_the_model_says() -> None:
    said = probabilities(saying(4, seed=0, num_classes=5)).numpy()
    said[2] = [0, 1, 0, 0, 0]
    labels = np.concatenate(list(drawn_labels(said, 20_000, seed=0)))
    found = np.stack([np.bincount(column, minlength=5) / 20_000 for column in labels.T])
    assert found == pytest.approx(said, abs=0.015)
    assert (labels[:, 2] == 1).all()


def test_names_of_means_are_names_of_scores() -> None:
    found = saying(50, seed=0)
    scores = all_scores(found)
    assert set(MEANS) < set(scores)
    assert scores["nll"] == pytest.approx(float(negative_log_likelihoods(found).mean()))
