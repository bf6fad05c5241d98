"""What the runs of a cell measured.

A metric is `test.NAME` or `val.NAME`, a score of the selected epoch; `exits.1`, `exits.2`, ..., `exits.main`, the test
accuracy of an exit; `pooled.NAME`, validation values of all epochs; or `teacher.` in front of `test.NAME`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from understudy.evaluation.statistics import average, pooled
from understudy.report.epochs import epoch_values
from understudy.reproduce.plan import Cell, Group

POOLED, EXITS, TEACHER = "pooled.", "exits.", "teacher."


class Own(NamedTuple):
    """The value of a cell here.

    Attributes:
        mean: Mean over runs, or over runs and epochs of a pooled metric.
        std: Sample standard deviation of the same; None of one value.
        n: Number of values.
        by_seed: The value of each run; empty for the teacher, who is one.
    """

    mean: float
    std: float | None
    n: int
    by_seed: dict[int, float]


def measure(group: Group, cell: Cell, summary: Mapping[str, Any]) -> Own | None:
    """The value of a cell; None where no run is finished or the runs have no such thing.

    Args:
        group: The runs.
        cell: One of its cells.
        summary: What the `study.json` of the group holds.
    """
    if cell.metric.startswith(TEACHER):
        return _of_teacher(cell.metric.removeprefix(TEACHER), summary)
    arm = next((arm for arm in summary["arms"] if arm["name"] == cell.arm), None)
    if arm is None or not arm["runs"]:
        return None
    if cell.metric.startswith(POOLED):
        return _pooled(group, arm, cell.metric.removeprefix(POOLED))
    runs = zip(arm["runs"], group.study.directory.runs_of(arm), strict=True)
    values = {run["seed"]: _score(directory.read_result(), cell.metric) for run, directory in runs}
    found = {seed: value for seed, value in values.items() if value is not None}
    if not found:
        return None
    mean, std, n, _, _ = average(list(found.values()))
    return Own(mean, std, n, found)


def _of_teacher(metric: str, summary: Mapping[str, Any]) -> Own | None:
    teacher = summary["teacher_result"]
    value = None if teacher is None else _score(teacher, metric)
    return None if value is None else Own(value, None, 1, {})


def _pooled(group: Group, arm: Mapping[str, Any], name: str) -> Own | None:
    values = epoch_values(group.study.directory, arm).get(name)
    if values is None:
        return None
    seeds = [run["seed"] for run in arm["runs"]]
    return Own(*pooled(values), dict(zip(seeds, values.mean(1).tolist(), strict=True)))


def _score(result: Mapping[str, Any], metric: str) -> float | None:
    if not metric.startswith(EXITS):
        split, name = metric.split(".", 1)
        return result[split].get(name)
    number = metric.removeprefix(EXITS)
    if number == "main":
        return result["test"]["accuracy"]
    exits = result.get("exits")
    return exits["test"][int(number) - 1]["accuracy"] if exits and int(number) < len(exits["test"]) else None
