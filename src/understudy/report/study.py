"""The arms of a study as a figure, with the numbers behind it in a CSV file of the same name."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GREY, STRONG = "#8a8f98", "#c2410c"


def save_study_figure(summary: Mapping[str, Any], path: Path, *, metric: str = "accuracy") -> Path:
    """Draw each arm as a row: its runs as dots, its mean with the 95 % interval; lines join the runs of one seed.

    Args:
        summary: What `study.json` holds; one arm or more has a finished run.
        path: A PNG or SVG file to write; the dots stand beside it as CSV.
        metric: Which score on the test split, a share in 0..1.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    arms = [arm for arm in summary["arms"] if arm["runs"]]
    figure = Figure(figsize=(6.4, 1.2 + 0.5 * len(arms)), layout="constrained")
    axes = figure.add_subplot()
    values = [{(run["seed"], run["fold"]): 100 * run["test"][metric] for run in arm["runs"]} for arm in arms]
    for pair in dict.fromkeys(pair for row in values for pair in row):
        places = [place for place, row in enumerate(values) if pair in row]
        axes.plot([values[place][pair] for place in places], places, "o-", color=GREY, linewidth=0.7, markersize=4)
    for place, arm in enumerate(arms):
        # Below the dots, which it would hide.
        found, below = arm["test"][metric], place + 0.2
        if found["low"] is not None:
            axes.plot([100 * found["low"], 100 * found["high"]], [below, below], color=STRONG, linewidth=2)
        axes.plot(100 * found["mean"], below, "D", color=STRONG, markersize=6)
        if arm["baseline"]:
            axes.axvline(100 * found["mean"], color=STRONG, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(arms)), [f"{arm['name']} (n = {len(arm['runs'])})" for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"test {metric} (%): runs, mean and 95 % interval; lines join runs of one seed", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        rows = [
            (arm["name"], *pair, value) for arm, row in zip(arms, values, strict=True) for pair, value in row.items()
        ]
        csv.writer(file).writerows([("arm", "seed", "fold", f"test_{metric}_percent"), *rows])
    return path
