"""The arms of a study as drawings: every run, and how far each arm is from its baseline."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.report.blocks import Data, Figures, Panel
from understudy.report.numbers import interval, percent, points
from understudy.report.subject import Member, Subject
from understudy.report.svg import COLORS, draw, series_color, series_marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
# Longer names leave no room for the drawing.
MAX_NAME = 18


def arm_figures(subject: Subject, comparisons: Sequence[Record], *, data: Data) -> Figures:
    """Runs as dots with mean and interval; differences with their intervals, where there are any.

    Args:
        subject: A study.
        comparisons: Each arm against its baseline.
        data: A line for each run.
    """
    members = [member for member in subject.members if member.role != "teacher"]
    panels = [_runs(members)]
    if comparisons:
        panels.append(_differences(members, comparisons))
    note = (
        "Marks: means; thick lines: their 95 % intervals; dots: runs. An interval that leaves out 0 shows a difference."
    )
    return Figures(panels, data, note=note)


def _runs(members: Sequence[Member]) -> Panel:
    accuracies = [[100 * run.read_result()["test"]["accuracy"] for run in member.runs] for member in members]
    said = "; ".join(
        f"{member.name} {percent(member.accuracy['test'].mean)} "
        f"{interval(member.accuracy['test'].low, member.accuracy['test'].high)}".strip()
        for member in members
    )

    def paint(axes: "Axes") -> None:
        for row, (member, values) in enumerate(zip(members, accuracies, strict=True)):
            test, color = member.accuracy["test"], series_color(member.number)
            axes.plot(values, [row + 0.22] * len(values), "o", color=color, markersize=4, alpha=0.6)
            _estimate(axes, row, (test.mean, test.low, test.high), member)
        _rows(axes, [member.name for member in members])
        axes.set_xlabel("test accuracy (%)")

    return draw("arms-runs", paint, title="Every run", description=f"Test accuracy of each arm: {said}.")


def _differences(members: Sequence[Member], comparisons: Sequence[Record]) -> Panel:
    by_name = {member.name: member for member in members}
    said = "; ".join(
        f"{row['arm']} {points(row['mean'])} {interval(row['low'], row['high'], signed=True)} against {row['against']}"
        for row in comparisons
    )

    def paint(axes: "Axes") -> None:
        axes.axvline(0, color=COLORS["muted"], linewidth=1, linestyle="--")
        for place, row in enumerate(comparisons):
            _estimate(axes, place, (row["mean"], row["low"], row["high"]), by_name[row["arm"]])
        _rows(axes, [row["arm"] for row in comparisons])
        axes.set_xlabel("difference from the baseline (points)")

    title = "Difference from the baseline"
    return draw("arms-differences", paint, title=title, description=f"Paired differences in points: {said}.")


def _estimate(axes: "Axes", row: int, ends: tuple[float, float | None, float | None], member: Member) -> None:
    mean, low, high = ends
    color = series_color(member.number)
    if low is not None and high is not None:
        axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=2.5, solid_capstyle="round")
    axes.plot(
        100 * mean, row, series_marker(member.number), color=color, markersize=9, markeredgecolor=COLORS["surface"]
    )


def _rows(axes: "Axes", names: Sequence[str]) -> None:
    """One row for each name, the first on top."""
    short = [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 2]}.." for name in names]
    axes.set_yticks(range(len(names)), short)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
