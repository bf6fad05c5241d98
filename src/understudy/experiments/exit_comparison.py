"""The comparison of SanityLacking/Self-Distillation: does it help, and whom, the network itself or its exits?"""

import csv
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from understudy.config import Tree
from understudy.errors import UserError
from understudy.evaluation.statistics import paired_difference
from understudy.experiments.exit_run import Overrides
from understudy.experiments.run import run
from understudy.experiments.settings import resolve

# With labels alone their weight is 1; with a teacher besides 0.7, the method's own setting, as in the paper.
WAYS: dict[str, Tree] = {
    "base": {},
    "branches": {"method.ce": 1.0, "method.kd": 0, "method.hint": 0},
    "distilled": {},
}
MAIN_PAIRS = (("branches", "base"), ("distilled", "base"), ("distilled", "branches"))
EXIT_PAIRS = (("distilled", "branches"),)
MAIN = "main"


class Row(NamedTuple):
    """The test accuracy of one exit of one run; exits are 1, 2, ... and main."""

    model: str
    seed: int
    way: str
    exit: str
    accuracy: float


class Difference(NamedTuple):
    """Treated minus baseline test accuracy over all seeds, in 0..1: mean, deviation, 95 % interval (Student's t).

    The interval and the p-value are None where all seeds differ equally.
    """

    model: str
    exit: str
    treated: str
    baseline: str
    seeds: int
    mean: float
    std: float
    low: float | None
    high: float | None
    p_value: float | None


class ExitComparison(NamedTuple):
    """What came out.

    Attributes:
        rows: One for each exit of each run.
        differences: Of the main exit and of each early one, by architecture.
        folder: Where `accuracies.csv` and `differences.csv` are, and the runs.
    """

    rows: list[Row]
    differences: list[Difference]
    folder: Path

    def accuracies(self, model: str, way: str, exit_: str) -> list[float]:
        """Of one exit of one architecture, by seed."""
        return [row.accuracy for row in self.rows if (row.model, row.way, row.exit) == (model, way, exit_)]


def compare_exits(
    overrides: Overrides = (),
    *,
    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("cnn-m", "resnet8", "wrn-16-1"),
    exits: int | str | list[str] = 2,
    seeds: Annotated[int, Field(ge=2)] = 5,
    out: str = "runs/exits-comparison",
    say: Callable[[str], None] = print,
) -> ExitComparison:
    """For each architecture and seed train three students from the same first weights on the same batches.

    `base` has no exits, those of `branches` learn from labels alone, those of `distilled` from the deepest exit, too.
    Students with exits are selected by the mean of all exits, the others by their own accuracy, each on validation
    images. A finished run is only read: after a stop the same call goes on.

    Args:
        overrides: Dotted keys and values, as for `understudy train`.
        models: Architectures.
        exits: As `student.exits`.
        seeds: How many; the seeds are 1, 2, ...
        out: Where runs and tables go.
        say: Takes a line for each architecture and seed.

    Raises:
        UserError: As `understudy.experiments.run.run`.
    """
    folder, rows = Path(out), list[Row]()
    for key, _ in overrides:
        if key in ("student", "model", "seed", "teacher") or key.partition(".")[0] == "method":
            raise UserError(f"{key} differs between the runs of the comparison: leave it out, and set models and seeds")
    for model in models:
        for seed in range(1, seeds + 1):
            found = [row for way in WAYS for row in _trained(way, model, seed, exits, folder, overrides)]
            rows += found
            reached = [f"{row.way} {row.accuracy:.2%}" for row in found if row.exit == MAIN]
            say(f"{model}, seed {seed}: main exit of {', '.join(reached)}")
    made = ExitComparison(rows, [], folder)
    pairs = {row[:1] + row[3:4]: MAIN_PAIRS if row.exit == MAIN else EXIT_PAIRS for row in rows}
    made.differences.extend(_difference(made, *place, *pair) for place in pairs for pair in pairs[place])
    _save(rows, Row._fields, folder / "accuracies.csv")
    _save(made.differences, Difference._fields, folder / "differences.csv")
    return made


def _trained(
    way: str, model: str, seed: int, exits: int | str | list[str], folder: Path, overrides: Overrides
) -> list[Row]:
    """Train one student, or read what it gave before."""
    place = str(folder / f"{model.replace(':', '-').replace('/', '-')}-{way}-{seed}")
    settings = [*overrides, ("student", model), ("seed", seed), ("out", place)]
    if way == "base":
        chosen = resolve("train", [], [pair for pair in settings if not pair[0].startswith("student.exit")])
        accuracies = [run(chosen, say=_silent)["test"]["accuracy"]]
    else:
        own: Tree = {"method": "self-distillation", "student.exits": exits, **WAYS[way]}
        result = run(resolve("distill", [], [*settings, *own.items()]), say=_silent)
        accuracies = [scores["accuracy"] for scores in result["exits"]["test"]]
    names = [*map(str, range(1, len(accuracies))), MAIN]
    return [Row(model, seed, way, *each) for each in zip(names, accuracies, strict=True)]


def _silent(line: str) -> None:
    """Say nothing."""


def _difference(found: ExitComparison, model: str, exit_: str, treated: str, baseline: str) -> Difference:
    columns = [found.accuracies(model, way, exit_) for way in (treated, baseline)]
    paired = paired_difference(*columns)
    std = statistics.stdev(a - b for a, b in zip(*columns, strict=True))
    numbers = (paired.num_pairs, paired.mean, std, paired.low, paired.high, paired.p_value)
    return Difference(model, exit_, treated, baseline, *numbers)


def _save(rows: Iterable[Sequence[Any]], header: Sequence[str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
