"""Early exits: accuracy against the multiply-adds that are left, where a run has thresholds."""

import csv
from typing import TYPE_CHECKING

from understudy.report.blocks import Data, Figures, Section
from understudy.report.numbers import count, percent
from understudy.report.subject import Subject
from understudy.report.svg import COLORS, draw, series_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def exits_section(subject: Subject) -> Section | None:
    """The curve that `understudy exits evaluate` left behind; None without one."""
    file = subject.main.runs[0].path / "exits" / "curve.csv"
    if not file.exists():
        return None
    with file.open(encoding="utf-8", newline="") as opened:
        header, *rows = csv.reader(opened)
    places = [(row[0], float(row[1]), 100 * float(row[2])) for row in rows]
    curve = [place for place in places if place[0] == "curve"]
    single = [place for place in places if place[0] != "curve"]

    def paint(axes: "Axes") -> None:
        axes.plot([m for _, m, _ in curve], [a for _, _, a in curve], color=series_color(subject.main.number))
        for name, macs, accuracy in single:
            axes.plot(macs, accuracy, "D" if name == "chosen" else "o", color=COLORS["ink"], markersize=5)
            axes.annotate(name, (macs, accuracy), xytext=(6, -4), textcoords="offset points", color=COLORS["ink"])
        axes.margins(x=0.2)
        axes.xaxis.set_major_formatter(lambda value, _: count(value))
        axes.set_xlabel("expected multiply-adds of an image")
        axes.set_ylabel("test accuracy (%)")

    said = "; ".join(f"{name}: {percent(accuracy / 100)} at {count(macs)}" for name, macs, accuracy in single)
    panel = draw("exits", paint, title="Early exits on test images", description=f"Accuracy and multiply-adds: {said}.")
    note = "Line: thresholds that were best on validation images. Points: one exit for all images, and what was chosen."
    return Section("exits", "Early exits", [Figures([panel], Data("exits", header, rows), note=note)])
