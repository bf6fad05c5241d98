"""Early exits as figures, each with the numbers behind it in a CSV file of the same name."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from understudy.exits.curve import StaticPoint
from understudy.exits.logits import ExitLogits
from understudy.exits.outcome import Outcome
from understudy.exits.policy import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG, OTHER = "#15803d", "#c2410c", "#8a8f98"
NUM_BINS = 40
# What a score is called on an axis; lower is surer.
LABELS = {
    "entropy": "entropy (bits)",
    "entropy-nats": "entropy (nats)",
    "max-probability": "1 - largest probability",
    "margin": "1 - margin",
    "energy": "energy",
    "evidence": "lack of evidence",
}


def save_score_figure(found: ExitLogits, policy: Policy, path: Path, *, ood_logits: Tensor | None = None) -> Path:
    """Histograms of each early exit's score where it is right, where it is wrong, and of other images.

    All images are counted at each exit, also those that would have left before. Each histogram is a share of its kind.

    Args:
        found: Of the split that is reported.
        policy: Score, temperatures and the thresholds that are drawn.
        path: A PNG or SVG file to write; the counts stand beside it as CSV.
        ood_logits: Of another data set (exits + 1, images, classes).

    Returns:
        `path`.
    """
    doubts, others = policy.doubts(found.logits), None if ood_logits is None else policy.doubts(ood_logits)
    figure, panels = _panels(len(doubts))
    rows: list[tuple[str, str, float, float, int]] = []
    for number, axes in enumerate(panels):
        right = found.correct[number]
        kinds = {"right": doubts[number][right], "wrong": doubts[number][~right]}
        if others is not None:
            kinds["OOD"] = others[number]
        rows += [(f"exit {number + 1}", *row) for row in _draw_histograms(axes, kinds)]
        # A threshold that lets all go or none lies outside.
        if np.isfinite(policy.thresholds[number]):
            axes.axvline(policy.thresholds[number], color="black", linestyle="--", linewidth=1, label="threshold")
        axes.set_title(f"exit {number + 1}: right about {right.double().mean():.1%}", fontsize=10)
        axes.set_xlabel(LABELS[policy.score])
    panels[0].set_ylabel("share of images")
    panels[-1].legend(frameon=False, fontsize=8)
    return _save(figure, path, ["exit", "kind", "low", "high", "images"], rows)


def _draw_histograms(axes: "Axes", kinds: Mapping[str, Tensor]) -> list[tuple[str, float, float, int]]:
    everything = torch.cat(list(kinds.values()))
    edges = np.histogram_bin_edges(everything[everything.isfinite()].numpy(), NUM_BINS)
    rows: list[tuple[str, float, float, int]] = []
    for (kind, values), color in zip(kinds.items(), (RIGHT, WRONG, OTHER), strict=False):
        counts = np.histogram(values.numpy(), edges)[0]
        axes.stairs(counts / max(len(values), 1), edges, color=color, fill=True, alpha=0.25)
        axes.stairs(counts / max(len(values), 1), edges, color=color, linewidth=1.5, label=kind)
        rows += zip([kind] * NUM_BINS, edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    return rows


def save_roc_figure(found: ExitLogits, policy: Policy, path: Path) -> Path:
    """How well each early exit's score tells right answers from wrong ones, with the thresholds as points.

    Args:
        found: Of the split that is reported.
        policy: Score, temperatures and the thresholds that are drawn.
        path: A PNG or SVG file to write; the points stand beside it as CSV.

    Returns:
        `path`.
    """
    figure, (axes,) = _panels(1, width=4.6)
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=1)
    rows: list[tuple[str, float, float, float]] = []
    colors = _colors(len(policy.thresholds))
    for number, doubts in enumerate(policy.doubts(found.logits)):
        right = found.correct[number]
        thresholds = torch.cat([doubts.new_tensor([-np.inf]), doubts.unique(), doubts.new_tensor([np.inf])])
        x, y = (_below(doubts[kind], thresholds) for kind in (~right, right))
        area = float(torch.trapezoid(y, x))
        axes.plot(x, y, color=colors[number], label=f"exit {number + 1}: area {area:.3f}")
        chosen = doubts.new_tensor([policy.thresholds[number]])
        axes.plot(_below(doubts[~right], chosen), _below(doubts[right], chosen), "o", color=colors[number])
        columns = (column.tolist() for column in (thresholds, x, y))
        rows += zip([f"exit {number + 1}"] * len(x), *columns, strict=True)
    axes.set_xlabel("wrong answers that leave (share of all wrong ones)")
    axes.set_ylabel("right answers that leave (share of all right ones)")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return _save(figure, path, ["exit", "threshold", "false_positive_rate", "true_positive_rate"], rows)


def _below(doubts: Tensor, thresholds: Tensor) -> Tensor:
    """Share of the doubts that lie below each threshold; 0 of none."""
    return torch.searchsorted(doubts.sort().values, thresholds).double() / max(len(doubts), 1)


def save_curve_figure(
    curve: Sequence[Outcome],
    static: Sequence[StaticPoint],
    path: Path,
    *,
    chosen: Mapping[str, Outcome] | None = None,
    others: Sequence[StaticPoint] = (),
) -> Path:
    """Accuracy against expected multiply-adds: policies as a curve, each exit alone as points.

    Args:
        curve: Policies on the split that is reported, by cost; searched on another one.
        static: `understudy.exits.curve.static_points` of the same split.
        path: A PNG or SVG file to write; the points stand beside it as CSV.
        chosen: Policies to mark, by name.
        others: Other networks without exits to compare with, such as smaller students; `exit` is their name.

    Returns:
        `path`.
    """
    figure, (axes,) = _panels(1, width=6)
    unit = 1e6
    axes.plot([p.macs / unit for p in curve], [100 * p.accuracy for p in curve], color=WRONG, label="early exits")
    for kind, color, marker in ((static, OTHER, "o"), (others, "#1d4ed8", "s")):
        for point in kind:
            place = point.macs / unit, 100 * point.accuracy
            axes.plot(*place, marker, color=color, markersize=5)
            axes.annotate(point.exit, place, xytext=(5, -11), textcoords="offset points", color=color, fontsize=8)
    for name, point in (chosen or {}).items():
        place = point.macs / unit, 100 * point.accuracy
        axes.plot(*place, "D", color="black", markersize=6)
        axes.annotate(name, place, xytext=(7, -4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("million multiply-adds an image")
    axes.set_ylabel("accuracy (%)")
    axes.margins(x=0.12)
    axes.set_title("curve: early exits; dots: one exit for all images", fontsize=10)
    rows = [("curve", p.macs, p.accuracy, *p.policy.thresholds) for p in curve]
    rows += [(name, p.macs, p.accuracy, *p.policy.thresholds) for name, p in (chosen or {}).items()]
    rows += [(p.exit, p.macs, p.accuracy) for p in [*static, *others]]
    num_exits = len(static) - 1
    return _save(figure, path, ["kind", "macs", "accuracy", *(f"threshold {k + 1}" for k in range(num_exits))], rows)


def _panels(num: int, *, width: float = 3.4) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * num, 3.6 if num > 1 else 4.2), layout="constrained")
    panels: list[Axes] = figure.subplots(1, num, squeeze=False)[0].tolist()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _colors(num: int) -> list[tuple[float, float, float, float]]:
    """From light for the first exit to dark for the last."""
    from matplotlib import colormaps

    return [colormaps["viridis"](place) for place in np.linspace(0.75, 0.1, num)]


def _save(figure: "Figure", path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    figure.savefig(path, dpi=150)
    return path
