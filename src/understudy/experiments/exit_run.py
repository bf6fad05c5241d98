"""A finished run whose student has early exits, and the policy that belongs to it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.exits import Policy, Staged, split_stages
from understudy.exits.logits import ExitLogits
from understudy.experiments.assemble import assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.evaluate import has_own_data, settings_of_run
from understudy.experiments.exit_scores import collect_exits
from understudy.record import RunDirectory

Overrides = Sequence[tuple[str, Any]]


class ExitRun(NamedTuple):
    """A run that can skip.

    Attributes:
        path: Its directory.
        made: Its data and its finished student.
        staged: The student cut behind its exits, on the device.
        own_data: Whether its data are those that it was trained on.
    """

    path: Path
    made: Assembly
    staged: Staged
    own_data: bool

    def collect(self, split: str) -> ExitLogits:
        """What all exits say about all images of a split, `val` or `test`; the run may have stored it."""
        stored = RunDirectory(self.path).exit_logits(split)
        if self.own_data and stored.exists():
            found = Predictions.load(stored)
        else:
            found = collect_exits(self.made, self.staged.model, split)
        macs, heads = (torch.tensor(each, dtype=torch.float64) for each in (self.staged.macs, self.staged.head_macs))
        return ExitLogits(found.logits, found.labels, macs, heads)


def open_run(path: str | Path, overrides: Overrides = ()) -> ExitRun:
    """Load the data and the student of a run.

    Args:
        path: A finished run directory.
        overrides: Dotted keys and values, such as `device`.

    Raises:
        UserError: The run is not finished, its student has no early exits, or later stages cannot be left out.
    """
    made = assemble(settings_of_run(path, overrides))
    student = made.student.to(made.device)
    return ExitRun(Path(path), made, split_stages(student, made.sample(2).image), has_own_data(overrides))


def policy_file(run: str | Path) -> Path:
    """Where the policy of a run is, with how it was found."""
    return Path(run) / "exits.json"


def read_policy(run: str | Path) -> tuple[Policy, Mapping[str, Any]]:
    """The policy of a run, and everything that its file holds.

    Raises:
        UserError: It has none, or there is no finished run.
    """
    directory = RunDirectory(run)
    directory.read_config()
    directory.read_result()
    path = policy_file(directory.path)
    if not path.exists():
        raise UserError(f"'{run}' has no thresholds yet: understudy exits calibrate {run}")
    record = json.loads(path.read_text(encoding="utf-8"))
    return Policy.from_record(record["policy"]), record
