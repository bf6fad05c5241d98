"""Plain against distilled students as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]


def save_comparison_figure(teacher: Result, plain: Sequence[Result], distilled: Sequence[Result], path: Path) -> Path:
    """Draw the test accuracy of each pair of students as a line from plain to distilled.

    Args:
        teacher: Result of the teacher's run.
        plain: Results of plain training, one for each seed.
        distilled: Results of distillation, in the same order.
        path: A PNG or SVG file to write.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    columns = [[100 * result["test"]["accuracy"] for result in results] for results in (plain, distilled)]
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for before, after in zip(*columns, strict=True):
        axes.plot([0, 1], [before, after], "o-", color="#8a8f98", linewidth=1, markersize=5)
    means = [sum(column) / len(column) for column in columns]
    axes.plot([0, 1], means, "o-", color="#c2410c", linewidth=2.5, markersize=9, label="mean")
    for place, mean, side in zip((0, 1), means, (-1, 1), strict=True):
        # Beside the column, where no other point can be.
        axes.annotate(
            f"{mean:.1f} %",
            (place, mean),
            xytext=(14 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            color="#c2410c",
        )
    axes.set_xticks([0, 1], [f"plain {plain[0]['student']}", f"distilled {distilled[0]['student']}"])
    axes.set_xlim(-0.35, 1.35)
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(
        f"One line for each seed; the teacher reaches {100 * teacher['test']['accuracy']:.1f} %", fontsize=10
    )
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    return path
