"""What the runs of a study measured in each epoch: read, and drawn with the numbers behind it as CSV."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.record import RunDirectory, read_lines
from understudy.study_record import StudyDirectory

PREFIX = "val."
# Apart for most kinds of colour-blindness (Okabe and Ito).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

Curves = dict[str, NDArray[np.float64]]
"""(runs, epochs) by quantity."""


def epoch_values(directory: StudyDirectory, arm: Mapping[str, Any]) -> Curves:
    """What the finished runs of an arm measured on the validation split in each epoch.

    Args:
        directory: Of the study.
        arm: One of its summary's arms.

    Returns:
        By the name in `metrics.jsonl` without `val.`, in the order of the runs; `teacher_accuracy` is the teacher's,
        which stays. Only what every run measured equally often is there.
    """
    runs = [_of_run(run) for run in directory.runs_of(dict(arm))]
    names = [name for name in runs[0] if all(len(run.get(name, [])) == len(runs[0][name]) for run in runs)]
    return {name: np.asarray([run[name] for run in runs], float) for name in names} if runs else {}


def _of_run(run: RunDirectory) -> dict[str, list[float]]:
    """Values by name; a run that went on where it was stopped has each epoch once."""
    lines = {line["epoch"]: line for line in read_lines(run.metrics) if _measured(line)}
    values: dict[str, list[float]] = {}
    for epoch in sorted(lines):
        for name, value in lines[epoch].items():
            if name.startswith(PREFIX):
                values.setdefault(name.removeprefix(PREFIX), []).append(value)
    teacher = run.read_result()["teacher"]
    if teacher:
        values["teacher_accuracy"] = [teacher["val"]["accuracy"]] * len(lines)
    return values


def _measured(line: Mapping[str, Any]) -> bool:
    return line["kind"] == "epoch" and f"{PREFIX}accuracy" in line


def save_epochs_figure(
    curves: Mapping[str, NDArray[np.float64]], path: Path, *, label: str, last: int | None = None
) -> Path:
    """Draw one quantity over the epochs: each arm's mean over its runs, dotted one standard deviation above and below.

    Args:
        curves: (runs, epochs) by arm.
        path: A PNG or SVG file to write; what is drawn stands beside it as CSV.
        label: What the quantity is called on its axis.
        last: Draw only so many epochs at the end; None draws all.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    rows: list[tuple[str, int, float, float, int]] = []
    for number, (arm, values) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        epochs = np.arange(1, values.shape[1] + 1)[-(last or values.shape[1]) :]
        shown = values[:, epochs - 1]
        mean = shown.mean(0)
        spread = shown.std(0, ddof=1) if len(shown) > 1 else np.zeros_like(mean)
        axes.plot(epochs, mean, color=color, label=f"{arm} (n = {len(shown)})")
        if len(shown) > 1:
            axes.plot(epochs, mean - spread, ":", color=color, linewidth=1)
            axes.plot(epochs, mean + spread, ":", color=color, linewidth=1)
        columns = (epochs.tolist(), mean.tolist(), spread.tolist())
        rows += [(arm, *row, len(shown)) for row in zip(*columns, strict=True)]
    axes.set_xlabel("epoch; dotted: one standard deviation over runs", fontsize=9)
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("arm", "epoch", "mean", "std", "runs"), *rows])
    return path
