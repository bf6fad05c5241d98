"""Accuracy against cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.report.blocks import Data, Figures, Panel, Section
from understudy.report.numbers import count, latency, milliseconds, percent, size, weight_bytes
from understudy.report.subject import Member, Subject
from understudy.report.svg import COLORS, draw, series_color, series_marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cost = Mapping[str, Any]
# Name, axis, how it is read from a record and how it is written.
AXES: list[tuple[str, str, Callable[[Cost], float | None], Callable[[float | None], str]]] = [
    ("macs", "multiply-adds of one image", lambda cost: cost.get("macs"), count),
    ("size", "size of the weights", weight_bytes, size),
    ("latency", "latency of one image", latency, milliseconds),
]


def pareto_section(subject: Subject) -> Section | None:
    """Test accuracy against multiply-adds, size and latency; None where there is one model only."""
    if len(subject.members) < 2:
        return None
    panels = [_panel(subject, *axis) for axis in AXES]
    rows = [
        [m.name, "test", *m.accuracy["test"][:3], *(read(m.cost) for _, _, read, _ in AXES)] for m in subject.members
    ]
    data = Data("pareto", ["name", "split", "accuracy", "low", "high", "macs", "bytes", "latency_ms"], rows)
    note = "Bars: 95 % intervals. Dashed: what no other model here beats in both. Further left and higher is better."
    return Section("pareto", "Accuracy against cost", [Figures(panels, data, legend=subject.legend, note=note)])


def frontier(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, accuracy) pairs that no other pair beats in both, by cost.

    Args:
        places: Costs and accuracies.
    """
    best: list[tuple[float, float]] = []
    for cost, accuracy in sorted(places, key=lambda place: (place[0], -place[1])):
        if not best or accuracy > best[-1][1]:
            best.append((cost, accuracy))
    return best


def _panel(
    subject: Subject,
    name: str,
    label: str,
    read: Callable[[Cost], float | None],
    write: Callable[[float | None], str],
) -> Panel:
    known = [(member, cost) for member in subject.members if (cost := read(member.cost)) is not None]
    said = "; ".join(
        f"{member.name} {percent(member.accuracy['test'].mean)} at {write(cost)}" for member, cost in known
    )

    def paint(axes: "Axes") -> None:
        line = frontier([(cost, 100 * member.accuracy["test"].mean) for member, cost in known])
        axes.plot(*zip(*line, strict=True), linestyle="--", linewidth=1, color=COLORS["muted"])
        for member, cost in known:
            _point(axes, member, cost)
        axes.set_xscale("log")
        axes.margins(x=0.2, y=0.15)
        _few_ticks(axes, write)
        axes.set_xlabel(label)
        axes.set_ylabel("test accuracy (%)")

    return draw(f"pareto-{name}", paint, title=f"Against {label}", description=f"Test accuracy and {label}: {said}.")


def _point(axes: "Axes", member: Member, cost: float) -> None:
    test = member.accuracy["test"]
    color, marker = series_color(member.number), series_marker(member.number)
    if test.low is not None and test.high is not None:
        axes.plot([cost, cost], [100 * test.low, 100 * test.high], color=color, linewidth=1.5)
    axes.plot(cost, 100 * test.mean, marker, color=color, markersize=8, markeredgecolor=COLORS["surface"])


def _few_ticks(axes: "Axes", write: Callable[[float | None], str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
