"""How sure a student becomes that learns from a virtual teacher: without any network, and on the digits.

On the left each logit is free, so what is drawn is the optimum of the loss itself: half label loss, half a virtual
teacher that is .9 sure, ten classes. On the right students of the digits, trained with the same losses: confidence
against accuracy on the test split, in bins. It writes virtual_teachers.csv and a figure; finished runs are not
repeated.

    python examples/virtual_teachers.py --figure docs/virtual_teachers.png
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from understudy.config import parse_override
from understudy.evaluation import Predictions, calibration_error, mean_entropy, reliability, top_accuracy
from understudy.experiments.run import run
from understudy.experiments.settings import resolve
from understudy.losses import calibrated_virtual_loss, published_virtual_loss, softened_virtual_loss

CONFIDENCE, WEIGHT, NUM_CLASSES = 0.9, 0.5, 10
# Too few images for a share of them that is right.
FEWEST = 10

VirtualLoss = Callable[[Tensor, Tensor, float], Tensor]


class Kind(NamedTuple):
    """A virtual teacher: how to draw it, its loss, its settings on the command line."""

    title: str
    color: str
    loss: VirtualLoss | None
    settings: dict[str, Any]


def kinds() -> list[Kind]:
    """Labels alone, and the variants of Tf-KD."""
    published, softened = published_virtual_loss, softened_virtual_loss
    return [
        Kind("labels alone", "#6b7280", None, {}),
        Kind("calibrated", "#15803d", calibrated_virtual_loss, {"variant": "calibrated"}),
        Kind("both, T = 1", "#7c3aed", partial(softened, temperature=1.0), {"variant": "both", "temperature": 1}),
        Kind("both, T = 10", "#1d4ed8", partial(softened, temperature=10.0), {"variant": "both", "temperature": 10}),
        Kind("published, T = 20", "#c2410c", partial(published, temperature=20.0), {"temperature": 20}),
    ]


class Row(NamedTuple):
    """The optimum of the loss, and what a student on the digits became; the latter over all seeds."""

    virtual_teacher: str
    free_logit_optimum: float
    accuracy: float
    confidence: float
    ece: float
    entropy: float


def main(arguments: list[str] | None = None) -> None:
    """Find the optima, train the students, write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="as for understudy train, such as train.epochs=10")
    parser.add_argument("--seeds", type=int, default=3, help="students of each kind; 3")
    parser.add_argument("--out", type=Path, default=Path("runs/virtual-teachers"), help="where runs and results go")
    parser.add_argument("--figure", type=Path, help="a PNG or SVG file; by default in --out")
    options = parser.parse_intermixed_args(arguments)
    # Networks this small are faster on one thread.
    torch.set_num_threads(1)
    common = list(map(parse_override, options.settings))
    rows: list[Row] = []
    found: list[Predictions] = []
    for kind in kinds():
        found.append(students(kind, common, options))
        rows.append(described(kind, found[-1]))
        print(", ".join(map(str, rows[-1])))
    with (options.out / "virtual_teachers.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([Row._fields, *rows])
    draw(rows, found, options.figure or options.out / "virtual_teachers.png")


def optimum(loss: VirtualLoss | None) -> float:
    """The probability of the true class where the loss is smallest and nothing but the loss decides."""
    if loss is None:
        return 1.0
    label = torch.tensor([0])
    logits = torch.zeros(1, NUM_CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = (1 - WEIGHT) * cross_entropy(logits, label) + WEIGHT * loss(logits, label, CONFIDENCE)
        total.backward()
        return total

    optimizer.step(closure)
    return round(logits.softmax(1)[0, 0].item(), 4)


def students(kind: Kind, common: list[tuple[str, Any]], options: argparse.Namespace) -> Predictions:
    """What students of several seeds say about the test split, one after the other."""
    found: list[Predictions] = []
    for seed in range(1, options.seeds + 1):
        out = options.out / f"{kind.title.replace(' ', '').replace(',', '-').replace('=', '')}-{seed}"
        chosen = [("data", "digits"), ("student", "cnn-xs"), ("seed", seed), *common, ("out", str(out))]
        if kind.loss is not None:
            chosen += [("method", "tf-kd"), ("method.weight", WEIGHT), ("label.weight", 1 - WEIGHT)]
            chosen += [("method.confidence", CONFIDENCE), *((f"method.{key}", v) for key, v in kind.settings.items())]
        run(resolve("train" if kind.loss is None else "distill", [], chosen), say=lambda line: None)
        found.append(Predictions.load(out / "logits-test.safetensors"))
    return Predictions(*(torch.cat(column) for column in zip(*found, strict=True)))


def described(kind: Kind, found: Predictions) -> Row:
    """The line of a kind in the table."""
    confidence = found.logits.double().softmax(1).amax(1).mean().item()
    figures = (top_accuracy(found), confidence, calibration_error(found), mean_entropy(found))
    return Row(kind.title, optimum(kind.loss), *(round(value, 4) for value in figures))


def draw(rows: Sequence[Row], found: Sequence[Predictions], path: Path) -> None:
    """The optima as bars, the students as curves beside the diagonal where confidence is accuracy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    bars = left.barh([row.virtual_teacher for row in rows], [row.free_logit_optimum for row in rows])
    left.bar_label(bars, fmt="%.4f", padding=3, fontsize=8)
    left.set_xlim(0, 1.15)
    left.invert_yaxis()
    left.set_title("free logits: probability of the true class", fontsize=10)
    for bar, kind, row, predictions in zip(bars, kinds(), rows, found, strict=True):
        bar.set_color(kind.color)
        bins = [part for part in reliability(predictions) if part.num_images >= FEWEST]
        points = [part.confidence for part in bins], [part.accuracy for part in bins]
        right.plot(*points, "o-", color=kind.color, markersize=4, label=f"{kind.title}: ECE {row.ece:.3f}")
    right.plot([0, 1], [0, 1], ":", color="black", linewidth=1)
    right.set_xlabel("confidence")
    right.set_ylabel("accuracy")
    right.set_title("students of the digits, test split", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
