import math
from typing import get_args

import numpy as np
import pytest
import torch
from exit_toys import random_exits
from hypothesis import given
from hypothesis import strategies as st
from reference import exits as reference

from understudy.errors import UserError
from understudy.exits.scores import SCORES, doubt
from understudy.experiments.exit_calibration import Score
from understudy.report.exits import LABELS


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_every_score_is_what_the_reference_says(score: str, temperature: float) -> None:
    logits = random_exits(50, num_classes=7).logits.double()
    found = doubt(logits, score, temperature=temperature)
    for row, value in zip(logits.flatten(0, 1).numpy(), found.flatten().tolist(), strict=True):
        assert value == pytest.approx(reference.scores(row / temperature)[score], abs=1e-12)
    assert doubt(logits.float(), score, temperature=temperature) == pytest.approx(found, abs=1e-5)


def test_the_entropy_of_a_sure_exit_is_nothing_and_not_that_of_a_second_softmax() -> None:
    sure = torch.eye(10) * 20
    assert doubt(sure).max() < 0.01
    # What a softmax of probabilities makes of one-hot ones: no entropy below this one.
    assert doubt(sure.softmax(1)).min() == pytest.approx(3.2160, abs=1e-4)
    assert doubt(torch.zeros(1, 10)).item() == pytest.approx(math.log2(10))
    assert doubt(torch.zeros(1, 10), "entropy-nats").item() == pytest.approx(math.log(10))


def test_a_class_that_is_ruled_out_adds_nothing() -> None:
    logits = torch.tensor([[1.0, 1.0, -math.inf]])
    assert doubt(logits).item() == pytest.approx(1)


@pytest.mark.parametrize("score", SCORES)
def test_surer_is_lower(score: str) -> None:
    found = doubt(torch.tensor([[0.0, 0, 0], [1, 0, 0], [5, 0, 0], [9, 0, 0]]), score)
    assert found.tolist() == sorted(found.tolist(), reverse=True)


def test_half_precision_is_computed_in_single() -> None:
    logits = random_exits(20).logits.bfloat16()
    assert torch.equal(doubt(logits), doubt(logits.float()))


def test_every_score_has_a_reference_a_setting_and_a_name_in_figures() -> None:
    names = set(reference.scores(np.zeros(3)))
    assert set(SCORES) == set(get_args(Score)) == set(LABELS) == names


def test_evidence_is_missing_by_half_at_logits_of_zero_and_ranks_as_energy() -> None:
    assert doubt(torch.zeros(1, 7), "evidence").item() == pytest.approx(0.5)
    logits = random_exits(200).logits[0].double()
    assert torch.equal(doubt(logits, "evidence").argsort(), doubt(logits, "energy").argsort())


def test_one_temperature_for_each_exit() -> None:
    logits = random_exits(20).logits
    together = doubt(logits, temperature=torch.tensor([1.0, 2.0, 0.5])[:, None, None])
    alone = [doubt(row, temperature=value) for row, value in zip(logits, (1.0, 2.0, 0.5), strict=True)]
    assert torch.equal(together, torch.stack(alone))


@given(st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=6), st.sampled_from(sorted(SCORES)))
def test_scores_are_finite_and_within_their_range(row: list[float], score: str) -> None:
    value = doubt(torch.tensor([row]), score).item()
    highest = {"entropy": math.log2(len(row)), "entropy-nats": math.log(len(row)), "energy": math.inf}.get(score, 1)
    assert (-math.inf if score == "energy" else 0) <= value <= highest + 1e-5


def test_an_unknown_score_is_named() -> None:
    with pytest.raises(UserError, match="unknown score 'entropi': did you mean 'entropy'"):
        doubt(torch.zeros(1, 2), "entropi")
