"""What a report is about: models side by side, each with the runs that it stands for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from understudy.errors import UserError
from understudy.record import RunDirectory

Record = Mapping[str, Any]
Role = Literal["teacher", "baseline", "student"]


class Estimate(NamedTuple):
    """A share with what is known about its error.

    Attributes:
        mean: 0..1.
        low: Lower end of the 95 % interval; None if it is not known.
        high: Upper end.
        std: Sample standard deviation over runs; None for one run.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    std: float | None = None


@dataclass(frozen=True, eq=False)
class Member:
    """A model, or the runs of one arm of a study, which share everything but the seed.

    Args:
        role: What it is in the comparison.
        name: What it is called on the page.
        network: Its architecture.
        accuracy: Top-1 accuracy by split, `val` and `test`.
        cost: What one image costs.
        runs: Its finished runs; a teacher may have none.
        evaluated: What `evaluation.json` says of each run by split; of a teacher, of the run that it taught.
        number: Its colour in all figures.
        settings: What is its own.
    """

    role: Role
    name: str
    network: str
    accuracy: Mapping[str, Estimate]
    cost: Record
    runs: Sequence[RunDirectory] = ()
    evaluated: Sequence[Record] = ()
    number: int = 0
    settings: Record = field(default_factory=dict[str, Any])

    @property
    def num_runs(self) -> int:
        """How many runs it is the mean of."""
        return max(len(self.runs), 1)

    @property
    def first(self) -> Record:
        """What is known about its first run on the test split; empty if nothing."""
        return self.evaluated[0]["test"] if self.evaluated else {}

    def mean(self, *keys: str) -> float | None:
        """A number of the records of the test split, averaged over the runs that have it.

        Args:
            keys: Where it is, such as `"scores", "nll"`.
        """
        return _mean([_lookup(splits["test"], keys) for splits in self.evaluated])

    def recalls(self) -> dict[str, float | None]:
        """Share of the test images of each class that are recognised, averaged over runs."""
        found: dict[str, list[float | None]] = {}
        for splits in self.evaluated:
            for row in splits["test"].get("per_class", []):
                found.setdefault(row["class"], []).append(row["accuracy"])
        return {name: _mean(values) for name, values in found.items()}


@dataclass(frozen=True)
class Subject:
    """Everything that the sections of a page are made from.

    Args:
        path: The directory of the run or the study.
        title: What the page is called.
        data: The data set.
        members: Teacher, baselines and the others, in this order.
        main: Whom the page is about: the run, or of a study the arm that did best on validation images.
        baseline: What main is compared with; None without. A study may have others for its other arms.
        images: Number of images by split.
        study: The summary of a study; None for a run.
        warnings: What a reader must know before anything else.
    """

    path: Path
    title: str
    data: str
    members: Sequence[Member]
    main: Member
    baseline: Member | None
    images: Mapping[str, int]
    study: Record | None = None
    warnings: Sequence[str] = ()

    @property
    def teacher(self) -> Member | None:
        """Who taught."""
        return next((member for member in self.members if member.role == "teacher"), None)

    @property
    def shown(self) -> list[Member]:
        """Teacher, baseline and main: those that are looked at closely."""
        chosen = (self.teacher, self.baseline, self.main)
        return [member for member in self.members if any(member is one for one in chosen)]

    @property
    def legend(self) -> list[tuple[str, int]]:
        """All members with their colours."""
        return [(member.name, member.number) for member in self.members]


def read_evaluation(run: RunDirectory) -> Record:
    """What an evaluation of the run found.

    A teacher that could not be evaluated again has the scores that it had in training.

    Raises:
        UserError: The run was not evaluated.
    """
    if not run.evaluation.exists():
        raise UserError(f"'{run.path}' was not evaluated: understudy evaluate {run.path}")
    found = json.loads(run.evaluation.read_text(encoding="utf-8"))
    if found["teacher"] is None and (teacher := run.read_result()["teacher"]):
        splits = {split: {"scores": teacher[split]} for split in ("val", "test")}
        found["teacher"] = {"name": teacher["name"], "splits": splits, "cost": teacher["cost"]}
    return found


def estimate_of(split: Record) -> Estimate:
    """The accuracy of one model on a split, with the interval over images."""
    low, high = (split.get("intervals") or {}).get("accuracy") or (None, None)
    return Estimate(split["scores"]["accuracy"], low, high)


def accuracies_of(evaluation: Record) -> dict[str, Estimate]:
    """The accuracy by split."""
    return {split: estimate_of(found) for split, found in evaluation["splits"].items()}


def teacher_of(evaluation: Record, *, name: str | None = None) -> Member | None:
    """The teacher of a run as a member.

    Args:
        evaluation: Of the run.
        name: Its architecture; that of the evaluation by default.
    """
    found = evaluation.get("teacher")
    if not found:
        return None
    network = name or found["name"]
    return Member("teacher", "teacher", network, accuracies_of(found), found["cost"], evaluated=[found["splits"]])


def _lookup(record: Record | None, keys: Sequence[str]) -> float | None:
    for key in keys:
        record = (record or {}).get(key)
    return record  # pyright: ignore[reportReturnType]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
