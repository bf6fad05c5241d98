import itertools
import math

import numpy as np
import pytest
import torch
from exit_toys import random_exits
from hypothesis import given
from hypothesis import strategies as st
from reference import exits as reference

from understudy.errors import UserError
from understudy.exits.bound import drop_bound, drop_p_value
from understudy.exits.cascade import cascade
from understudy.exits.curve import pareto, static_points, tradeoff
from understudy.exits.grid import threshold_grid
from understudy.exits.outcome import replay
from understudy.exits.policy import ALWAYS, NEVER, Policy
from understudy.exits.solve import solve_budget, solve_drop


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("num_exits", [1, 2, 3])
@pytest.mark.parametrize("score", ["entropy", "energy"])
def test_each_cell_of_the_grid_is_the_walk_of_each_image(
    score: str, num_exits: int, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.exits.grid.MAX_LEVELS", 6)
    found = random_exits(40, num_exits, seed=num_exits, ties=ties)
    temperatures = [1.5] * num_exits
    grid = threshold_grid(found, score=score, temperatures=temperatures)
    doubts = Policy.of(score, [0] * num_exits, temperatures).doubts(found.logits).tolist()
    trunk, heads = torch.linspace(1, 4, num_exits + 1).tolist(), found.head_macs.tolist()
    correct = found.correct.int().tolist()
    for place in range(grid.macs.size):
        thresholds = list(grid.thresholds(place))
        taken = reference.walk(doubts, thresholds)
        change = [correct[k][i] - correct[-1][i] for i, k in enumerate(taken)]
        assert grid.gain.flat[place] == sum(change)
        assert grid.differing.flat[place] == sum(map(abs, change))
        expected = np.mean([reference.cost(k, thresholds, trunk, heads) for k in taken])
        assert grid.macs.flat[place] == pytest.approx(expected)


def test_the_grid_reaches_from_nobody_to_everybody_in_even_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    found = random_exits(1000, 1)
    with monkeypatch.context() as patched:
        patched.setattr("understudy.exits.grid.MAX_LEVELS", 11)
        (levels,) = threshold_grid(found).levels
    doubts = Policy.of("entropy", [0]).doubts(found.logits)[0]
    assert (levels[0], levels[-1]) == (NEVER, ALWAYS)
    assert [int((doubts < level).sum()) for level in levels.tolist()] == list(range(0, 1001, 100))
    # Of few images every set.
    assert len(threshold_grid(found.rows(torch.arange(20))).levels[0]) == 21


def test_many_exits_get_fewer_levels() -> None:
    found = random_exits(300, 4)
    assert [len(level) for level in threshold_grid(found).levels] == [31] * 4
    assert threshold_grid(found.rows(torch.arange(10))).macs.size == 11**4


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    cost, worth = np.array(pairs, float).T
    found = [pairs[place] for place in pareto(cost, worth)]
    best = {p for p in pairs if not any((a <= p[0] and b >= p[1]) and (a, b) != p for a, b in pairs)}
    assert found == sorted(best)


def test_the_curve_is_the_best_of_all_thresholds() -> None:
    found = random_exits(12, 2)
    curve = tradeoff(found)
    doubts = Policy.of("entropy", [0, 0]).doubts(found.logits).tolist()
    choices = [[NEVER, *(math.nextafter(v, ALWAYS) + 1e-6 for v in sorted(row))] for row in doubts]
    everything = replay(found, [Policy.of("entropy", pair) for pair in itertools.product(*choices)])
    for point in everything:
        assert any(p.macs <= point.macs + 1e-9 and p.accuracy >= point.accuracy - 1e-9 for p in curve)
    for low, high in itertools.pairwise(curve):
        assert low.macs < high.macs
        assert low.accuracy < high.accuracy
    for point in curve:
        assert cascade(found, point.policy).total.macs == pytest.approx(point.macs)


def test_static_points_are_paid_without_the_heads_before_them() -> None:
    found = random_exits(50, 2)
    static = static_points(found)
    assert [row.exit for row in static] == ["exit 1", "exit 2", "main"]
    assert [row.macs for row in static] == pytest.approx([1.1, 2.8, 4])
    for number, row in enumerate(static):
        alone = [NEVER] * 2
        if number < 2:
            alone[number] = ALWAYS
        found_alone = cascade(found, Policy.of("entropy", alone)).total
        assert row[1:] == pytest.approx((found_alone.accuracy, found_alone.macs))


@pytest.mark.parametrize("images", [20, 40])
@pytest.mark.parametrize("drop", [0.05, 0.2])
def test_a_drop_is_called_smaller_too_often_for_no_rates_at_all(images: int, drop: float) -> None:
    pairs = [(a, b) for a, b in itertools.product(range(images + 1), repeat=2) if a + b <= images]
    # With many losses there is nothing to reject.
    near = [(a, b) for a, b in pairs if a - b < drop * images and a + b <= 20]
    rejected = {pair for pair in near if drop_p_value(*pair, images, drop) <= 0.05}
    assert rejected or images * drop < 3
    for won in (0.0, 0.01, 0.05, 0.1, 0.2, 0.35):
        assert reference.chance_of_rejection(images, won + drop, won, rejected) <= 0.05


def test_the_bound_of_no_difference_is_near_the_rule_of_three_and_narrows_with_images() -> None:
    assert 3 / 1000 < drop_bound(0, 0, 1000) < 5 / 1000
    widths = [drop_bound(num // 100, num // 100, num) for num in (200, 1000, 5000, 20_000)]
    assert widths == sorted(widths, reverse=True)
    # Close to the normal approximation where that is good.
    assert widths[-1] == pytest.approx(1.645 * math.sqrt(400) / 20_000, rel=0.25)
    assert widths[-1] > 1.645 * math.sqrt(400) / 20_000


@pytest.mark.parametrize(("lost", "won", "images"), [(0, 0, 50), (7, 2, 300), (2, 30, 500), (25, 0, 25)])
def test_the_bound_is_the_smallest_drop_that_is_rejected(lost: int, won: int, images: int) -> None:
    bound = drop_bound(lost, won, images)
    assert (lost - won) / images <= bound <= 1
    if bound < 1:
        assert drop_p_value(lost, won, images, bound + 1e-4) <= 0.05
        assert drop_p_value(lost, won, images, bound - 1e-4) > 0.05
        assert drop_bound(lost, won, images, level=0.99) > bound


def test_a_target_is_kept_on_images_that_the_search_did_not_see() -> None:
    search, held_out = random_exits(4000, 2, num_classes=3).halves()
    some, more = (solve_drop(search, held_out, drop) for drop in (0.01, 0.05))
    found = replay(held_out, [some, more])
    for point, drop in zip(found, (0.01, 0.05), strict=True):
        assert point.drop < point.drop_bound(0.95) <= drop
    assert 0 < found[0].saving < found[1].saving


def test_the_test_stops_at_the_first_policy_that_may_drop_more() -> None:
    search, held_out = random_exits(400, 2, num_classes=3).halves()
    chosen = solve_drop(search, held_out, 0.06)
    # Labels of the second half decide how far it goes, never which policies there are to choose from.
    wrong = held_out._replace(labels=torch.full_like(held_out.labels, -1))
    agreeing = solve_drop(search, wrong, 0.06)
    grid = threshold_grid(search)
    risk = (-grid.gain + 1.645 * np.sqrt(grid.differing)).ravel()
    row = [grid.thresholds(place) for place in pareto(grid.macs.ravel(), -risk)]
    assert agreeing.thresholds == row[0]
    assert chosen.thresholds in row
    cheap, dear = replay(held_out, [agreeing, chosen])
    assert cheap.saving > dear.saving


def test_too_few_images_show_nothing() -> None:
    search, held_out = random_exits(100, 2).halves()
    policy = solve_drop(search, held_out, 0.005)
    assert policy.thresholds == (NEVER, NEVER)
    assert policy.closed
    assert not Policy.of("entropy", [NEVER, 0.1]).closed
    assert drop_bound(0, 0, len(held_out.labels)) > 0.05


def test_a_budget_is_the_best_that_brute_force_finds() -> None:
    search, _ = random_exits(40, 2).halves()
    (found,) = replay(search, [solve_budget(search, 0.6)])
    grid = threshold_grid(search)
    assert grid.macs.size == 21**2
    within = [place for place in range(grid.macs.size) if grid.macs.flat[place] <= 0.6 * 4]
    best = max(
        replay(search, [Policy.of("entropy", grid.thresholds(place)) for place in within]), key=lambda p: p.accuracy
    )
    assert found.accuracy == pytest.approx(best.accuracy)
    assert found.macs <= 0.6 * search.main_macs


def test_targets_that_cannot_be_are_named() -> None:
    search, held_out = random_exits(40, 2).halves()
    with pytest.raises(UserError, match="max_drop=5 is not valid: give a share between 0 and 1"):
        solve_drop(search, held_out, 5)
    with pytest.raises(UserError, match=r"budget=0.2 is out of reach: the cheapest exits cost 27.50% of the network"):
        solve_budget(search, 0.2)
    for budget in (60, 0, -0.5, math.nan):
        with pytest.raises(UserError, match=rf"budget={budget} is not valid: give a share above 0 and at most 1"):
            solve_budget(search, budget)
