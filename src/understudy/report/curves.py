"""How training went: every loss term, and the accuracy on validation images."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from understudy.record import RunDirectory, read_lines
from understudy.report.blocks import Data, Figures, Panel, Section
from understudy.report.numbers import decimal
from understudy.report.subject import Member, Subject
from understudy.report.svg import draw, series_color, series_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Not quantities of an epoch, or of little news beside the others.
LEFT_OUT = ("step", "stage", "kind", "epoch")
NOT_DRAWN = (".raw", "top5")
FIRST = ("val.accuracy", "val.nll", "train.loss")
TITLES = {
    "val.accuracy": "Accuracy on validation images (%)",
    "val.nll": "NLL on validation images (nats)",
    "val.brier": "Brier score on validation images",
    "val.ece": "ECE on validation images",
    "val.entropy": "Entropy on validation images (nats)",
    "train.accuracy": "Accuracy on training batches (%)",
    "train.loss": "Loss: the sum of all terms",
}
# From here on a curve is drawn over a logarithmic axis: else its end cannot be told from 0.
LARGE_RATIO = 30


class Point(NamedTuple):
    """One quantity after one epoch, over the runs of a member.

    Attributes:
        epoch: From 1.
        mean: Over the runs.
        std: Sample standard deviation; None for one run.
        num_runs: How many runs came that far.
    """

    epoch: int
    mean: float
    std: float | None
    num_runs: int


def curves_section(subject: Subject) -> Section | None:
    """A drawing for each quantity, with a line for each member; None where nothing was logged."""
    members = [member for member in subject.members if member.runs]
    found = {member.name: _points(member.runs) for member in members}
    names = sorted({name for points in found.values() for name in points}, key=lambda name: (_place(name), name))
    if not names:
        return None
    drawn = [name for name in names if not name.endswith(NOT_DRAWN)]
    panels = [_panel(number, name, members, found) for number, name in enumerate(drawn)]
    rows = [
        [member.name, name, *point]
        for name in names
        for member in members
        for point in found[member.name].get(name, [])
    ]
    spread = any(member.num_runs > 1 for member in members)
    note = "Loss terms are drawn as they enter the sum, with their weights; the CSV also has them without."
    return Section(
        "curves",
        "How training went",
        [
            Figures(
                panels,
                Data("curves", ["name", "quantity", "epoch", "mean", "std", "runs"], rows),
                legend=[(member.name, member.number) for member in members],
                note=f"Lines: mean over runs; bands: one standard deviation. {note}" if spread else note,
            )
        ],
    )


def _points(runs: Sequence[RunDirectory]) -> dict[str, list[Point]]:
    """Quantity -> its points; those of an earlier stage have the stage in their name."""
    values: dict[tuple[str, int], list[float]] = defaultdict(list)
    for run in runs:
        for line in read_lines(run.metrics):
            if line.get("kind") != "epoch":
                continue
            stage = "" if line["stage"] == "train" else f"{line['stage']}: "
            for key, value in line.items():
                if key not in LEFT_OUT and isinstance(value, int | float):
                    values[stage + key, line["epoch"] + 1].append(float(value))
    points: dict[str, list[Point]] = defaultdict(list)
    for (name, epoch), several in sorted(values.items()):
        std = statistics.stdev(several) if len(several) > 1 else None
        points[name].append(Point(epoch, statistics.fmean(several), std, len(several)))
    return points


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST) + (not name.endswith(".weighted"))


def _title(name: str) -> str:
    stage, _, key = name.rpartition(": ")
    title = TITLES.get(key) or key.removeprefix("train.").removesuffix(".weighted")
    title = f"Loss term {title}" if key.endswith(".weighted") else title
    return f"{stage}: {title}" if stage else title


def _panel(number: int, name: str, members: Sequence[Member], found: Mapping[str, Mapping[str, list[Point]]]) -> Panel:
    lines = [(member, points) for member in members if (points := found[member.name].get(name))]
    scale = 100 if name.endswith("accuracy") else 1
    ends = "; ".join(f"{m.name} from {decimal(p[0].mean * scale)} to {decimal(p[-1].mean * scale)}" for m, p in lines)

    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        for member, points in lines:
            _line(axes, member, points, scale)
        means = [point.mean for _, points in lines for point in points]
        if scale == 1 and min(means) > 0 and max(means) > LARGE_RATIO * min(means):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    description = f"{_title(name)} by epoch: {ends}."
    return draw(f"curve-{number}", paint, title=_title(name), description=description)


def _line(axes: "Axes", member: Member, points: Sequence[Point], scale: float) -> None:
    epochs = [point.epoch for point in points]
    means = [point.mean * scale for point in points]
    color = series_color(member.number)
    if any(point.std for point in points):
        spreads = [(point.std or 0) * scale for point in points]
        lows, highs = ([mean + sign * spread for mean, spread in zip(means, spreads, strict=True)] for sign in (-1, 1))
        axes.fill_between(epochs, lows, highs, color=color, alpha=0.15, linewidth=0)
    style = series_line(member.number)
    axes.plot(epochs, means, linestyle=style, marker="o" if len(epochs) < 3 else "", color=color, linewidth=1.8)
