import math

import pytest
import torch
from exit_toys import random_exits
from hypothesis import given
from hypothesis import strategies as st
from reference import exits as reference

from understudy.errors import UserError
from understudy.exits.bound import drop_bound
from understudy.exits.cascade import cascade
from understudy.exits.logits import ExitLogits
from understudy.exits.ood import ood_table
from understudy.exits.outcome import replay
from understudy.exits.policy import ALWAYS, NEVER, Policy
from understudy.exits.scores import SCORES

thresholds = st.one_of(st.floats(0, 2), st.sampled_from([NEVER, ALWAYS]))
FOUND = random_exits(60)
TRUNK, HEADS = [1, 2.5, 4], [0.1, 0.3]


def planted(leaves: list[int], right: list[int]) -> ExitLogits:
    """So many images leave at each exit, so many of them are right there, and wrong elsewhere."""
    taken = torch.arange(len(leaves)).repeat_interleave(torch.tensor(leaves))
    fine = torch.cat([torch.arange(num) < good for num, good in zip(leaves, right, strict=True)])
    logits = torch.zeros(len(leaves), len(taken), 10)
    logits[..., 1] = 0.1
    for number in range(len(leaves)):
        here = taken == number
        logits[number, here] = torch.eye(10)[torch.where(fine[here], 0, 1)] * 20
    macs, heads = torch.tensor([0.0619, 0.0911, 0.1170]).double(), torch.zeros(2).double()
    return ExitLogits(logits, torch.zeros(len(taken), dtype=torch.int64), macs, heads)


def test_the_published_cascade_of_a_resnet50() -> None:
    found = cascade(planted([6168, 1265, 2567], [5780, 1033, 1368]), Policy.of("entropy", [1.0, 1.0]))
    assert found.total.accuracy == pytest.approx(0.8181)
    assert [row.inputs for row in found.rows] == [10_000, 3832, 2567]
    assert [round(row.accepted_accuracy, 4) for row in found.rows] == [0.9371, 0.8166, 0.5329]
    assert [row.accepted_correct for row in found.rows] == [5780, 1033, 1368]
    assert found.rows[0].share == 0.6168
    assert found.total.macs == pytest.approx(0.6168 * 0.0619 + 0.1265 * 0.0911 + 0.2567 * 0.1170)


@given(thresholds, thresholds, st.sampled_from(sorted(SCORES)))
def test_a_cascade_is_the_walk_of_each_image(first: float, second: float, score: str) -> None:
    policy = Policy.of(score, [first, second], [1.0, 2.0])
    found = cascade(FOUND, policy)
    chosen = list(policy.thresholds)
    # The decision itself is made in single precision.
    taken = reference.walk(policy.doubts(FOUND.logits).tolist(), torch.tensor(chosen).tolist())
    assert policy.exit_taken(FOUND.logits).tolist() == taken
    right = [bool(FOUND.correct[k, i]) for i, k in enumerate(taken)]
    assert found.total.accuracy == pytest.approx(sum(right) / 60)
    costs = [reference.cost(k, chosen, TRUNK, HEADS) for k in taken]
    assert found.total.macs == pytest.approx(sum(costs) / 60)
    main = FOUND.correct[-1].tolist()
    assert found.total.lost == sum(m and not r for m, r in zip(main, right, strict=True))
    assert found.total.won == sum(r and not m for m, r in zip(main, right, strict=True))


@given(thresholds, thresholds)
def test_what_is_accepted_and_what_is_rejected_came_in(first: float, second: float) -> None:
    found = cascade(FOUND, Policy.of("entropy", [first, second]))
    assert all(row.accepted + row.rejected == row.inputs for row in found.rows)
    assert sum(row.accepted for row in found.rows) == found.rows[0].inputs == found.total.images == 60
    assert [row.rejected for row in found.rows[:-1]] == [row.inputs for row in found.rows[1:]]
    assert found.rows[-1].rejected == 0
    assert found.total.accuracy == pytest.approx(sum(row.accepted_correct for row in found.rows) / 60)
    assert found.total.drop == pytest.approx(found.total.main_accuracy - found.total.accuracy)
    assert found.total.saving == pytest.approx(1 - found.total.macs / 4)


@given(st.lists(st.floats(0, 2), min_size=2, max_size=2), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_higher_thresholds_never_cost_more(low: list[float], more: list[float]) -> None:
    high = [a + b for a, b in zip(low, more, strict=True)]
    before, after = (Policy.of("entropy", values) for values in (low, high))
    assert (after.exit_taken(FOUND.logits) <= before.exit_taken(FOUND.logits)).all()
    assert cascade(FOUND, after).total.macs <= cascade(FOUND, before).total.macs


@pytest.mark.parametrize("score", SCORES)
def test_the_ends_of_thresholds_and_dial(score: str) -> None:
    everything, nothing = Policy.of(score, [ALWAYS, ALWAYS]), Policy.of(score, [NEVER, NEVER])
    assert set(everything.exit_taken(FOUND.logits).tolist()) == {0}
    assert set(nothing.exit_taken(FOUND.logits).tolist()) == {2}
    assert cascade(FOUND, everything).total.macs == pytest.approx(1.1)
    # No head is evaluated where none may leave.
    assert cascade(FOUND, nothing).total.macs == cascade(FOUND, nothing).total.main_macs == pytest.approx(4)
    policy = Policy.of(score, [-2.0 if score == "energy" else 0.4] * 2)
    assert policy.turned(0) == everything
    assert policy.turned(math.inf) == nothing
    assert policy.turned(1) == policy
    stricter = policy.turned(2).exit_taken(FOUND.logits)
    assert (stricter >= policy.exit_taken(FOUND.logits)).all()
    assert (stricter > policy.exit_taken(FOUND.logits)).any()
    if score != "energy":
        zero = Policy.of(score, [0, 0]).exit_taken(FOUND.logits)
        assert set(zero.tolist()) == {2}


def test_a_dial_is_not_negative() -> None:
    with pytest.raises(UserError, match="dial=-1 is not valid"):
        Policy.of("entropy", [1]).turned(-1)


def test_policies_replayed_together_are_those_replayed_alone() -> None:
    policies = [Policy.of("entropy", pair) for pair in ([0.2, 0.4], [NEVER, 0.8], [ALWAYS, 0.1])]
    assert replay(FOUND, policies) == [cascade(FOUND, policy).total for policy in policies]


def test_a_closed_policy_loses_nothing_for_certain() -> None:
    nothing, some = (cascade(FOUND, Policy.of("entropy", [NEVER, value])).total for value in (NEVER, 0.01))
    assert (nothing.lost, nothing.won) == (some.lost, some.won) == (0, 0)
    assert nothing.drop_bound(0.95) == 0
    assert some.drop_bound(0.95) == drop_bound(0, 0, 60) > 0


def test_images_of_another_data_set_are_counted_beside_the_known_ones() -> None:
    known, other = planted([6, 3, 1], [5, 2, 1]), planted([2, 0, 8], [0, 0, 0])
    rows = ood_table(known, other.logits, Policy.of("entropy", [1.0, 1.0]))
    assert [row[1:] for row in rows] == [(10, 6, 5, 10, 2), (4, 3, 2, 8, 0), (1, 1, 1, 8, 8)]
    assert [row.exit for row in rows] == ["exit 1", "exit 2", "main"]
    assert (rows[0].known_share, rows[0].ood_rate, rows[0].accuracy) == (6 / 8, 2 / 10, 5 / 8)
    nobody = ood_table(known, other.logits, Policy.of("entropy", [NEVER, ALWAYS]))[0]
    assert math.isnan(nobody.known_share)


def test_logits_are_halved_without_a_remainder() -> None:
    first, second = FOUND.rows(torch.arange(59)).halves()
    assert (len(first.labels), len(second.labels)) == (29, 30)
    rows = torch.cat([first.logits, second.logits], 1)[0, :, 0]
    assert torch.equal(rows.sort().values, FOUND.logits[0, :59, 0].sort().values)
