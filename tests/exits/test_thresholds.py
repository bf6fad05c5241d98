import math

import pytest
import torch
from exit_toys import random_exits
from hypothesis import given
from hypothesis import strategies as st
from reference import exits as reference

from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.temperature import fit_temperature
from understudy.exits.policy import ALWAYS, NEVER, Policy
from understudy.exits.thresholds import (
    fit_temperatures,
    fit_thresholds,
    gmean_threshold,
    mean_threshold,
    precision_recall_threshold,
    separating,
)

# Few values, so that many are equal.
images = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=25)


def columns(seen: list[tuple[int, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([d / 7 for d, _ in seen]), torch.tensor([c for _, c in seen])


def every_threshold(doubts: torch.Tensor) -> list[float]:
    """A threshold above each doubt, from none to all."""
    return [NEVER, *(math.nextafter(value, ALWAYS) for value in sorted(set(doubts.tolist())))]


@given(images)
def test_gmean_is_the_best_of_all_thresholds(seen: list[tuple[int, bool]]) -> None:
    doubts, correct = columns(seen)
    found = reference.gmean(doubts.tolist(), correct.tolist(), gmean_threshold(doubts, correct))
    best = max(reference.gmean(doubts.tolist(), correct.tolist(), t) for t in every_threshold(doubts))
    assert found == pytest.approx(best, abs=1e-12)


@given(images)
def test_precision_and_recall_are_as_close_as_any_threshold_makes_them(seen: list[tuple[int, bool]]) -> None:
    doubts, correct = columns(seen)
    threshold = precision_recall_threshold(doubts, correct)
    if not correct.any():
        assert threshold == NEVER
        return
    found = reference.precision_recall_distance(doubts.tolist(), correct.tolist(), threshold)
    best = min(
        reference.precision_recall_distance(doubts.tolist(), correct.tolist(), t) for t in every_threshold(doubts)
    )
    assert found == pytest.approx(best, abs=1e-12)


def test_golden_values() -> None:
    doubts = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    correct = torch.tensor([True, True, False, True, False])
    # Two of three right ones without a wrong one beat all of them with one of two. Three leave where three are right.
    assert gmean_threshold(doubts, correct) == pytest.approx(0.25)
    assert precision_recall_threshold(doubts, correct) == pytest.approx(0.35)
    assert mean_threshold(doubts, correct) == pytest.approx(0.7 / 3)


def test_exits_that_are_always_right_or_always_wrong() -> None:
    doubts = torch.tensor([0.1, 0.2])
    right, wrong = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    assert gmean_threshold(doubts, right) == ALWAYS
    assert gmean_threshold(doubts, wrong) == mean_threshold(doubts, wrong) == NEVER
    assert precision_recall_threshold(doubts, wrong) == NEVER


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False), min_size=1, max_size=20))
def test_thresholds_tell_all_sets_apart_and_stay_clear_of_rounding(values: list[float]) -> None:
    doubts = torch.tensor(values)
    below = [int((doubts < threshold).sum()) for threshold in separating(doubts)]
    assert below == [sum(v < edge for v in doubts.tolist()) for edge in [*doubts.unique().tolist(), ALWAYS]]
    neighbours = torch.tensor([1.0, 1.0]).nextafter(torch.tensor([1.0, 2.0]))
    assert [int((neighbours < t).sum()) for t in separating(neighbours)] == [0, 1, 2]


def test_what_is_not_a_number_never_leaves() -> None:
    policy = Policy.of("entropy", [ALWAYS])
    logits = torch.tensor([[[1.0, 0.0], [math.nan, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert policy.exit_taken(logits).tolist() == [0, 1]
    assert separating(policy.doubts(logits)[0]).tolist() == [NEVER, ALWAYS]


def test_each_exit_gets_a_threshold_from_its_own_images() -> None:
    found = random_exits(200)
    policy = fit_thresholds(found, ["gmean", 0.7], score="margin", temperatures=[2.0, 1.0])
    doubts = Policy.of("margin", [0, 0], [2.0, 1.0]).doubts(found.logits)
    assert policy == ("margin", (gmean_threshold(doubts[0], found.correct[0]), 0.7), (2.0, 1.0))
    assert fit_thresholds(found, 0.3).thresholds == (0.3, 0.3)
    assert fit_thresholds(found, "mean").thresholds[1] == mean_threshold(
        Policy.of("entropy", [0, 0]).doubts(found.logits)[1], found.correct[1]
    )


def test_each_early_exit_has_its_own_temperature() -> None:
    found = random_exits(400, 2)
    single = fit_temperature(Predictions(found.logits[0], found.labels))
    twice = found._replace(logits=torch.stack([found.logits[0], found.logits[0] * 2, found.logits[2]]))
    assert fit_temperatures(twice) == pytest.approx((single, 2 * single), rel=1e-4)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("gmeen", "unknown threshold rule 'gmeen': did you mean 'gmean'"),
        (["mean"], "1 threshold rules for 2 early exits"),
    ],
)
def test_wrong_rules_are_named(rule: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit_thresholds(random_exits(10), rule)  # pyright: ignore[reportArgumentType]


def test_policies_are_checked() -> None:
    with pytest.raises(UserError, match="3 temperatures for 2 early exits"):
        Policy.of("entropy", [1, 2], [1, 1, 1])
    with pytest.raises(UserError, match="are not all numbers"):
        Policy.of("entropy", [math.nan])
    for temperature in (0, -1, math.inf, math.nan):
        with pytest.raises(UserError, match="are not all above 0 and finite"):
            Policy.of("entropy", [1, 2], [1, temperature])
    with pytest.raises(UserError, match="1 thresholds for 2 early exits"):
        Policy.of("entropy", [1]).exit_taken(random_exits(3).logits)


def test_a_policy_is_written_in_words_and_read_again() -> None:
    import json

    policy = Policy.of("energy", [NEVER, 0.5, ALWAYS], [1.0, 2.0, 0.5])
    text = json.dumps(policy.to_record(), allow_nan=False)
    assert '"never", 0.5, "always"' in text
    assert Policy.from_record(json.loads(text)) == policy
