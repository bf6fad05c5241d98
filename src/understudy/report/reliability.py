"""Reliability diagrams: how often a model is right when it is so sure, with what chance alone would make of it."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.stats import binom

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]

BAR, GAP, BAND = "#1d4ed8", "#c2410c", "#8a8f98"
COLUMNS = ("low", "high", "images", "confidence", "accuracy")


def reliability_panels(record: Record) -> dict[str, Record]:
    """The test split (or what there is) of each model of an `evaluation.json`, as it is and with its temperature.

    Args:
        record: What the file holds.

    Returns:
        By title what `save_reliability_figure` draws.
    """
    models = {"student" if record["teacher"] else "model": record["splits"]}
    if record["teacher"]:
        models["teacher"] = record["teacher"]["splits"]
    panels: dict[str, Record] = {}
    for name, splits in models.items():
        found = splits.get("test") or splits["val"]
        panels[name] = found
        if found["temperature"]:
            panels[f"{name}, T = {found['temperature']['value']:.2f}"] = found["temperature"]
    return panels


def save_reliability_figure(panels: Mapping[str, Record], path: Path) -> Path:
    """Draw accuracy against confidence, and below it how many images are so sure.

    The grey bars hold the accuracy of 95 % of perfectly calibrated models with as many images in the bin.

    Args:
        panels: By title `reliability`, `scores` and `ece_floor` as a split of `evaluation.json` has them.
        path: A PNG or SVG file to write; the numbers stand beside it as CSV.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(panels), 4.8), layout="constrained")
    above, below = figure.subplots(2, len(panels), sharex=True, squeeze=False, height_ratios=[3, 1])
    rows: list[list[Any]] = []
    for (title, found), axes, counts in zip(panels.items(), above, below, strict=True):
        bins = [(row, *calibrated_range(row)) for row in found["reliability"] if row["images"]]
        rows += [[title, *(row[key] for key in COLUMNS), *ends] for row, *ends in bins]
        _draw_bins(axes, bins)
        error, floor = found["scores"]["ece"], found["ece_floor"]
        axes.set_title(f"{title}\nerror {error:.4f}; by chance up to {floor['high']:.4f}", fontsize=10)
        _draw_counts(counts, found["reliability"])
    above[0].set_ylabel("accuracy")
    below[0].set_ylabel("share of images")
    figure.legend(*above[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=3, loc="outside lower center")
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["model", *COLUMNS, "calibrated_low", "calibrated_high"], *rows])
    figure.savefig(path, dpi=150)
    return path


def calibrated_range(row: Record) -> tuple[float, float]:
    """Where the accuracy of a bin lies with 95 % probability if each image is right as often as the bin says."""
    low, high = binom.interval(0.95, row["images"], min(row["confidence"], 1.0))
    return float(low) / row["images"], float(high) / row["images"]


def _draw_bins(axes: "Axes", bins: list[tuple[Any, ...]]) -> None:
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=1)
    for number, (row, low, high) in enumerate(bins):
        width, middle = row["high"] - row["low"], (row["low"] + row["high"]) / 2
        names = ("accuracy", "gap to confidence", "calibrated, 95 %") if number == 0 else (None, None, None)
        axes.bar(middle, row["accuracy"], 0.9 * width, color=BAR, alpha=0.75, label=names[0])
        gap = row["confidence"] - row["accuracy"]
        axes.bar(middle, gap, 0.3 * width, bottom=row["accuracy"], color=GAP, label=names[1])
        axes.plot([middle + 0.3 * width] * 2, [low, high], color=BAND, linewidth=2, label=names[2])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_counts(axes: "Axes", rows: list[Record]) -> None:
    total = sum(row["images"] for row in rows)
    for row in rows:
        width = row["high"] - row["low"]
        axes.bar((row["low"] + row["high"]) / 2, row["images"] / total, 0.9 * width, color=BAND)
    axes.set_xlabel("confidence")
    axes.spines[["top", "right"]].set_visible(False)
