"""Thresholds of all exits together, for a bound on the accuracy that is lost or for a budget.

Thresholds are searched on one half of the validation images and judged on the other, which knows nothing of the search.
"""

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from understudy.errors import UserError
from understudy.exits.bound import drop_p_value
from understudy.exits.curve import pareto
from understudy.exits.grid import threshold_grid
from understudy.exits.logits import ExitLogits
from understudy.exits.outcome import Outcome, replay
from understudy.exits.policy import NEVER, Policy

# Normal quantile of 95 %: how far from the estimate the search expects the worst.
_CAUTION = 1.645


def solve_drop(
    search: ExitLogits,
    held_out: ExitLogits,
    max_drop: float,
    *,
    score: str = "entropy",
    temperatures: Sequence[float] | None = None,
    level: float = 0.95,
) -> Policy:
    """The largest saving whose drop in accuracy against the main exit is at most `max_drop`, with confidence `level`.

    The first half puts policies in a row, from none may leave to the cheapest, each with the smallest drop to be
    expected for its cost. The second half tests them in this order, each at the full level, up to the first that might
    drop more (fixed-sequence testing, as in Angelopoulos et al., Learn then Test, 2021). The chance that the policy
    returned truly drops more than `max_drop` is at most 1 - `level`, however many were searched. This takes the images
    to be independent draws from what the model will see. Where too few images can show the bound, none may leave.

    Images that selected the epoch of the network are not quite that: exits look a little better on them. The bound on
    the test split is the clean one.

    Args:
        search: One half of the validation split (`ExitLogits.halves`), on which temperatures may be fitted too.
        held_out: The other half.
        max_drop: In 0..1; 0.005 is half a point.
        score: See `understudy.exits.scores.doubt`.
        temperatures: One for each early exit; 1 by default.
        level: One-sided.

    Raises:
        UserError: `max_drop` is not between 0 and 1.
    """
    if not 0 < max_drop < 1:
        raise UserError(f"max_drop={max_drop} is not valid: give a share between 0 and 1, as 0.005 for half a point")
    grid = threshold_grid(search, score=score, temperatures=temperatures)
    expected = -grid.gain + _CAUTION * np.sqrt(grid.differing)
    row = pareto(grid.macs.ravel(), -expected.ravel())[::-1]
    policies = [Policy.of(score, grid.thresholds(place), temperatures) for place in row.tolist()]

    def holds(total: Outcome) -> bool:
        if total.policy.closed:
            return True
        return drop_p_value(total.lost, total.won, total.images, max_drop, level=level) <= 1 - level

    closed = Policy.of(score, [NEVER] * len(grid.levels), temperatures)
    passed = [closed, *(total.policy for total in takewhile(holds, replay(held_out, policies)))]
    return passed[-1]


def solve_budget(
    search: ExitLogits,
    budget: float,
    *,
    score: str = "entropy",
    temperatures: Sequence[float] | None = None,
) -> Policy:
    """The best accuracy for a share of the multiply-adds of the network without exits; of equal ones the cheapest.

    The budget is kept on average on the half that was searched; on other images the mean cost differs a little.

    Args:
        search: One half of the validation split (`ExitLogits.halves`), on which temperatures may be fitted too; the
            other half says what the policy is worth.
        budget: Above 0, at most 1; 0.6 is 60 %.
        score: See `understudy.exits.scores.doubt`.
        temperatures: One for each early exit; 1 by default.

    Raises:
        UserError: `budget` is no such share, or even the cheapest policy costs more.
    """
    if not 0 < budget <= 1:
        raise UserError(f"budget={budget} is not valid: give a share above 0 and at most 1, as 0.6 for 60 %")
    grid = threshold_grid(search, score=score, temperatures=temperatures)
    macs, gain = grid.macs.ravel(), grid.gain.ravel()
    row = pareto(macs, gain)
    within = row[macs[row] <= budget * search.main_macs]
    if not len(within):
        least = macs[row[0]] / search.main_macs
        raise UserError(
            f"budget={budget} is out of reach: the cheapest exits cost {least:.2%} of the network; give more"
        )
    return Policy.of(score, grid.thresholds(int(within[-1])), temperatures)
