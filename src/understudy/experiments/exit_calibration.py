"""Thresholds for the exits of a run, found on its validation split."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from understudy.errors import UserError
from understudy.exits.bound import drop_bound
from understudy.exits.cascade import Cascade, cascade
from understudy.exits.logits import ExitLogits
from understudy.exits.policy import Policy
from understudy.exits.solve import solve_budget, solve_drop
from understudy.exits.thresholds import fit_temperatures, fit_thresholds
from understudy.experiments.exit_run import Overrides, open_run, policy_file
from understudy.record import write_json

Score = Literal["entropy", "entropy-nats", "max-probability", "margin", "energy", "evidence"]
MAX_DROP = 0.005
LEVEL = 0.95


class Calibration(NamedTuple):
    """Thresholds, and what they are worth on images that had no part in finding them.

    Attributes:
        policy: When an image may leave.
        found_by: The setting that they come from, such as `max_drop`, and its value.
        found: On images of the validation split they were found on; 0 for given thresholds.
        held_out: The other images of the validation split, through the cascade.
        drop_bound: Upper 95 % bound of the drop in accuracy against the main exit, from these.
        smallest_bound: The smallest bound that so many images can show.
    """

    policy: Policy
    found_by: tuple[str, Any]
    found: int
    held_out: Cascade
    drop_bound: float
    smallest_bound: float

    def to_record(self) -> dict[str, Any]:
        """Plain types for `exits.json`."""
        key, value = self.found_by
        return {
            "policy": self.policy.to_record(),
            "found": {"by": key, "value": value, "on": "val", "images": self.found},
            "validation": {**cascade_record(self.held_out), "drop_bound": self.drop_bound, "level": LEVEL},
        }


def cascade_record(judged: Cascade) -> dict[str, Any]:
    """A cascade in plain types; thresholds belong to the policy."""
    total = judged.total
    rows = [{key: value for key, value in row._asdict().items() if key != "threshold"} for row in judged.rows]
    totals = {key: getattr(total, key) for key in ("images", "accuracy", "main_accuracy", "drop", "macs", "main_macs")}
    return {**totals, "lost": total.lost, "won": total.won, "exits": rows}


def calibrate(
    run: str,
    overrides: Overrides = (),
    *,
    max_drop: float | None = None,
    budget: float | None = None,
    rule: str | list[str | float] | None = None,
    thresholds: list[float | Literal["always", "never"]] | None = None,
    score: Score = "entropy",
    temperatures: Literal["fit"] | list[float] | None = None,
) -> Calibration:
    """Find thresholds by one of four ways and write them into the run, as `exits.json`.

    They are found on one random half of the validation split and judged on the other; given ones are judged on all.

    Args:
        run: A finished run directory.
        overrides: Dotted keys and values for data and device.
        max_drop: Save as much as possible, with an accuracy at most this much below the main exit's, with 95 %
            confidence; in 0..1. The default way, with 0.005.
        budget: The best accuracy for this share of the multiply-adds of the network without exits.
        rule: `gmean`, `mean` or `precision-recall`, or a list with one for each exit.
        thresholds: Numbers, `always` or `never`, one for each exit.
        score: What the doubt about an image is (see `understudy.exits.scores.doubt`).
        temperatures: One for each exit; `fit` finds those that make the labels most likely.

    Raises:
        UserError: As `open_run`; or more than one way, or a value out of range.
    """
    ways = {"max_drop": max_drop, "budget": budget, "rule": rule, "thresholds": thresholds}
    chosen = {key: value for key, value in ways.items() if value is not None}
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} are different ways to thresholds: give one")
    by, value = next(iter(chosen.items()), ("max_drop", MAX_DROP))
    opened = open_run(run, overrides)
    made = _calibrated(opened.collect("val"), by, value, score, temperatures)
    write_json(policy_file(opened.path), made.to_record())
    return made


def _calibrated(
    found: ExitLogits, by: str, value: Any, score: Score, temperatures: str | Sequence[float] | None
) -> Calibration:
    search, held_out = found.halves()
    fitted = fit_temperatures(search) if isinstance(temperatures, str) else temperatures
    if by == "thresholds":
        given = {"score": score, "thresholds": value, "temperatures": [1.0] * len(value) if fitted is None else fitted}
        policy = Policy.from_record(given)
        if temperatures != "fit":
            # Nothing was found: all images may judge.
            search, held_out = search.rows(search.labels.new_empty(0)), found
    elif by == "rule":
        policy = fit_thresholds(search, value, score=score, temperatures=fitted)
    elif by == "budget":
        policy = solve_budget(search, value, score=score, temperatures=fitted)
    else:
        policy = solve_drop(search, held_out, value, score=score, temperatures=fitted, level=LEVEL)
    judged = cascade(held_out, policy)
    smallest = drop_bound(0, 0, judged.total.images, level=LEVEL)
    return Calibration(policy, (by, value), len(search.labels), judged, judged.total.drop_bound(LEVEL), smallest)
