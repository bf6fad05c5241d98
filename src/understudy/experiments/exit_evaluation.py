"""What the exits of a run do on its test split, and to images of other data."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from understudy.data import load_data
from understudy.exits import Policy, predict
from understudy.exits.cascade import Cascade, cascade
from understudy.exits.curve import StaticPoint, static_points, tradeoff
from understudy.exits.logits import ExitLogits
from understudy.exits.ood import OodRow, ood_table
from understudy.exits.outcome import Outcome, replay
from understudy.exits.staged import ExitSize
from understudy.experiments.exit_calibration import LEVEL, cascade_record
from understudy.experiments.exit_run import ExitRun, Overrides, open_run, read_policy
from understudy.experiments.exit_scores import collect_exits
from understudy.record import write_json


class RuntimeCheck(NamedTuple):
    """The runtime that skips, against the table, which is computed from all logits.

    Attributes:
        same_exit: Images that take the same exit; the runtime rounds otherwise, so one on a threshold may take another.
        images: All images.
        difference: Largest difference of a logit of images that take the same exit.
        accuracy: Of the runtime.
        macs: Mean multiply-adds of an image in the runtime.
    """

    same_exit: int
    images: int
    difference: float
    accuracy: float
    macs: float


class ExitEvaluation(NamedTuple):
    """What a policy does to images that it was not found on.

    Attributes:
        policy: When an image may leave.
        test: The test split through the cascade.
        drop_bound: Upper 95 % bound of the drop in accuracy against the main exit, from the test split.
        runtime: Whether skipping gives the same.
        curve: Policies that were best on validation images, by cost, on the test split.
        static: Each exit alone, on the test split.
        ood: Acceptance with other data; None without.
        logits: All exits on the test split.
        ood_logits: All exits on the other data (exits + 1, images, classes); None without.
        sizes: What is needed to answer at each exit.
        folder: Where figures and tables go.
    """

    policy: Policy
    test: Cascade
    drop_bound: float
    runtime: RuntimeCheck
    curve: list[Outcome]
    static: list[StaticPoint]
    ood: list[OodRow] | None
    logits: ExitLogits
    ood_logits: Tensor | None
    sizes: tuple[ExitSize, ...]
    folder: Path


def evaluate_exits(run: str, overrides: Overrides = (), *, ood: str | None = None) -> ExitEvaluation:
    """Apply the policy of a run to its test split, and write the numbers into `exits/` below the run.

    Args:
        run: A run directory with a policy.
        overrides: Dotted keys and values for data and device.
        ood: Another data set, whose test images are none of the classes; its labels are not read.

    Raises:
        UserError: There is no policy, or as `open_run`.
    """
    policy, _ = read_policy(run)
    opened = open_run(run, overrides)
    test, validation = opened.collect("test"), opened.collect("val")
    judged = cascade(test, policy)
    curve = tradeoff(validation, score=policy.score, temperatures=policy.temperatures)
    other = None if ood is None else _other_logits(opened, ood)
    found = ExitEvaluation(
        policy,
        judged,
        judged.total.drop_bound(LEVEL),
        _run_for_real(opened, test, policy),
        replay(test, [total.policy for total in curve]),
        static_points(test),
        None if other is None else ood_table(test, other, policy),
        test,
        other,
        opened.staged.sizes,
        opened.path / "exits",
    )
    _save(found)
    return found


def _run_for_real(opened: ExitRun, test: ExitLogits, policy: Policy) -> RuntimeCheck:
    """Send the test split through the stages, without what no image needs."""
    columns: list[tuple[Tensor, ...]] = []
    for batch in opened.made.batches("test"):
        found = predict(opened.staged, batch.image, policy)
        columns.append((found.logits.float().cpu(), found.exit.cpu(), found.macs.cpu(), batch.index.cpu()))
    logits, exits, macs, index = (torch.cat(column) for column in zip(*columns, strict=True))
    order = index.argsort()
    logits, exits = logits[order], exits[order]
    same = exits == policy.exit_taken(test.logits)
    expected = test.logits[exits, torch.arange(len(exits))]
    return RuntimeCheck(
        int(same.sum()),
        len(same),
        (logits - expected)[same].abs().max().item() if same.any() else 0.0,
        (logits.argmax(1) == test.labels).double().mean().item(),
        macs.double().mean().item(),
    )


def _other_logits(opened: ExitRun, name: str) -> Tensor:
    """All exits on the test images of other data, brought to the size and the channels of the run's."""
    made = replace(opened.made, data=replace(opened.made.data, test=load_data(name).test), loaders={})
    return collect_exits(made, opened.staged.model, "test").logits


def _save(found: ExitEvaluation) -> None:
    found.folder.mkdir(exist_ok=True)
    ratios = ("accepted_accuracy", "share")
    rows = [
        {**row._asdict(), **{key: getattr(row, key) for key in ratios}, **size._asdict()}
        for row, size in zip(found.test.rows, found.sizes, strict=True)
    ]
    _write_csv(found.folder / "cascade.csv", rows)
    record: dict[str, Any] = {
        "policy": found.policy.to_record(),
        "test": {**cascade_record(found.test), "drop_bound": found.drop_bound, "level": LEVEL},
        "runtime": found.runtime._asdict(),
    }
    if found.ood is not None:
        ratios = ("known_share", "ood_rate", "accuracy")
        rows = [{**row._asdict(), **{key: getattr(row, key) for key in ratios}} for row in found.ood]
        _write_csv(found.folder / "ood.csv", rows)
        record["ood"] = [row._asdict() for row in found.ood]
    write_json(found.folder / "evaluation.json", record)


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
