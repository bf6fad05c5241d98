"""Mutual against independent learning on the digits, and what evaluating the live students in eval mode for good does.

python examples/mutual_learning.py --out runs/mutual-figure

It writes `mutual.csv`, the validation accuracy of each student after each epoch, and `mutual.png`. The third curve has
the defect of two public implementations: the first validation puts the students into eval mode and nothing puts them
back, so that they train on BatchNorm statistics from before the training.
"""

import argparse
import csv
import statistics
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import nn

from understudy import Distiller, create_model, load_data
from understudy.cohort import Cohort
from understudy.data import ImageData, make_loader
from understudy.evaluation.accuracy import scores
from understudy.evaluation.predictions import collect_predictions
from understudy.methods.dml import DML

# In the order they are drawn: two of the curves nearly coincide.
KINDS = {"mutual, left in eval mode": "#1d4ed8", "mutual": "#c2410c", "independent": "#111827"}
DEFECT = "mutual, left in eval mode"


class Point(NamedTuple):
    """The validation accuracy of one student after one epoch."""

    kind: str
    seed: int
    student: int
    epoch: int
    accuracy: float


def make_cohort(data: ImageData, seed: int, *, weight: float) -> Cohort:
    """Two students from other first weights; of weight 0 they learn alone."""
    members: list[Distiller] = []
    for number in range(2):
        torch.manual_seed(100 * seed + number)
        student = create_model("cnn-s", classes=data.classes, channels=data.channels, mean=data.mean, std=data.std)
        members.append(Distiller(student, [DML(weight=weight)]))
    return Cohort(members)


def accuracy(student: nn.Module, data: ImageData) -> float:
    """On the validation split; each module is back in its own mode behind it."""
    loader = make_loader(data.val, batch_size=128, size=8, train=False, device=torch.device("cpu"))
    return scores(collect_predictions(student, loader.batches(0)))["accuracy"]


def train(kind: str, data: ImageData, seed: int, epochs: int) -> list[Point]:
    """The curves of one cohort."""
    cohort = make_cohort(data, seed, weight=0.0 if kind == "independent" else 1.0)
    optimizer = torch.optim.AdamW(cohort.parameters(), lr=3e-3)
    loader = make_loader(data.train, batch_size=64, size=8, seed=seed, train=True, device=torch.device("cpu"))
    cohort.train(kind != DEFECT)
    points: list[Point] = []
    for epoch in range(epochs):
        for batch in loader.batches(epoch):
            optimizer.zero_grad()
            cohort(batch).loss.backward()
            optimizer.step()
        found = [accuracy(member.deploy(), data) for member in cohort.each()]
        points += [Point(kind, seed, number, epoch + 1, value) for number, value in enumerate(found)]
    return points


def curves(points: list[Point], kind: str) -> list[list[float]]:
    """One for each student."""
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for point in points:
        if point.kind == kind:
            found[point.seed, point.student].append(point.accuracy)
    return list(found.values())


def draw(points: list[Point], path: Path) -> None:
    """Each student's curve, and the mean of each kind."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for kind, color in KINDS.items():
        own = curves(points, kind)
        epochs = range(1, len(own[0]) + 1)
        for curve in own:
            axes.plot(epochs, [100 * value for value in curve], color=color, linewidth=0.7, alpha=0.35)
        means = [100 * statistics.fmean(values) for values in zip(*own, strict=True)]
        axes.plot(
            epochs, means, ":" if kind == "independent" else "o-", color=color, linewidth=2, markersize=4, label=kind
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy (%)")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/mutual-figure"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=16)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data("digits")
    points: list[Point] = []
    for kind in KINDS:
        for seed in range(chosen.seeds):
            points += train(kind, data, seed, chosen.epochs)
        own = curves(points, kind)
        final = statistics.fmean(curve[-1] for curve in own)
        # Of the second half: what the first half changes is mostly learning.
        late = [curve[chosen.epochs // 2 :] for curve in own]
        change = statistics.fmean(abs(after - before) for curve in late for before, after in pairwise(curve))
        print(f"{kind}: {final:.2%} at the end, {100 * change:.2f} points mean change between late epochs")
    chosen.out.mkdir(parents=True, exist_ok=True)
    with (chosen.out / "mutual.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([Point._fields, *points])
    draw(points, chosen.out / "mutual.png")


if __name__ == "__main__":
    main()
