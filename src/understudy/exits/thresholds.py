"""Thresholds by a rule for each exit alone, on validation images (rules of seed 000's evaluation)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from understudy.errors import UserError, did_you_mean
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.temperature import fit_temperature
from understudy.exits.logits import ExitLogits
from understudy.exits.policy import ALWAYS, NEVER, Policy


def separating(doubts: Tensor) -> Tensor:
    """One threshold for each set of images that a threshold can let go: none, the surest, ..., all.

    Args:
        doubts: (images,).

    Returns:
        (at most images + 1,) in rising order, of the same type: -inf, halfway between neighbours, inf. No rounding
        moves one of them over a doubt.
    """
    values = doubts[doubts.isfinite()].unique()
    low, high = values[:-1], values[1:]
    middle = low + (high - low) / 2
    ends = values.new_tensor([NEVER, ALWAYS])
    return torch.cat([ends[:1], torch.where(middle > low, middle, high), ends[1:]])


def gmean_threshold(doubts: Tensor, correct: Tensor) -> float:
    """The largest geometric mean of the shares of right answers that leave and of wrong ones that stay.

    Of equal thresholds the lowest. Without wrong answers all may leave, without right ones none.

    Args:
        doubts: (images,).
        correct: Whether the exit is right (images,), bool.
    """
    thresholds = separating(doubts)
    right, wrong = _below(doubts[correct], thresholds), _below(doubts[~correct], thresholds)
    # Whole numbers, so that equal is equal.
    kept = int((~correct).sum()) - wrong if not correct.all() else torch.ones_like(wrong)
    return float(thresholds[(right * kept).argmax()])


def mean_threshold(doubts: Tensor, correct: Tensor) -> float:
    """The mean doubt about the images that the exit is right about; without any, none may leave.

    Args:
        doubts: (images,).
        correct: (images,), bool.
    """
    return float(doubts[correct].double().mean()) if correct.any() else NEVER


def precision_recall_threshold(doubts: Tensor, correct: Tensor) -> float:
    """The smallest |precision - recall| of right answers among those that leave; of equal ones the lowest threshold.

    Thresholds that let no right answer go are left out: both are 0 there. Without right answers none may leave.

    Args:
        doubts: (images,).
        correct: (images,), bool.
    """
    if not correct.any():
        return NEVER
    thresholds = separating(doubts)
    right, wrong = _below(doubts[correct], thresholds), _below(doubts[~correct], thresholds)
    thresholds, right, wrong = (column[right > 0] for column in (thresholds, right.double(), wrong))
    distance = (right / (right + wrong) - right / correct.sum()).abs()
    return float(thresholds[distance.argmin()])


def _below(doubts: Tensor, thresholds: Tensor) -> Tensor:
    """How many doubts lie below each threshold."""
    return torch.searchsorted(doubts.sort().values, thresholds)


RULES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "gmean": gmean_threshold,
    "mean": mean_threshold,
    "precision-recall": precision_recall_threshold,
}
Rule = str | float


def fit_thresholds(
    found: ExitLogits,
    rule: Rule | Sequence[Rule],
    *,
    score: str = "entropy",
    temperatures: Sequence[float] | None = None,
) -> Policy:
    """Choose the threshold of each early exit from all images of a split, also those that would have left before.

    Args:
        found: Of the validation split, never of the one that is reported on.
        rule: gmean, mean, precision-recall or a number; or a list with one of these for each early exit.
        score: See `understudy.exits.scores.doubt`.
        temperatures: One for each early exit; 1 by default.

    Raises:
        UserError: An unknown rule or score, or not one for each early exit.
    """
    num_exits = len(found.logits) - 1
    rules: list[Rule] = [rule] * num_exits if isinstance(rule, str | int | float) else list(rule)
    if len(rules) != num_exits:
        raise UserError(f"{len(rules)} threshold rules for {num_exits} early exits: give one, or one for each")
    unset = Policy.of(score, [NEVER] * num_exits, temperatures)
    columns = zip(rules, unset.doubts(found.logits), found.correct[:-1], strict=True)
    return Policy.of(score, [_threshold(*column) for column in columns], temperatures)


def fit_temperatures(found: ExitLogits) -> tuple[float, ...]:
    """The temperature of each early exit that makes the labels most likely, in order of depth.

    Args:
        found: Of validation images; where a bound on the drop is wanted, of the half that is searched.
    """
    return tuple(fit_temperature(Predictions(rows, found.labels)) for rows in found.logits[:-1])


def _threshold(rule: Rule, doubts: Tensor, correct: Tensor) -> float:
    if not isinstance(rule, str):
        return float(rule)
    if rule not in RULES:
        raise UserError(f"unknown threshold rule '{rule}': {did_you_mean(rule, RULES)} or give a number")
    return RULES[rule](doubts, correct)
