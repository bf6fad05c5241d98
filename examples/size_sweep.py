"""Students that see less: accuracy, calibration and time against the size of their images.

The teacher sees the images as they are, each student the same ones resized; so does the plain baseline. With `dml` two
students teach each other, and their figures are averaged. It writes size_sweep.csv, a line for each run, and a figure;
finished runs are not repeated.

    python examples/size_sweep.py
    python examples/size_sweep.py data=path/to/folder data.size=64 --sizes 16,32,64 --teacher resnet20 --student resnet8
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from understudy.config import parse_override
from understudy.evaluation import Predictions, calibration_error, mean_entropy, top_accuracy
from understudy.experiments.cohort import run_cohort
from understudy.experiments.cohort_settings import resolve_cohort
from understudy.experiments.run import run
from understudy.experiments.settings import resolve

PANELS = {
    "accuracy": "test accuracy",
    "ece": "calibration error, 15 bins",
    "entropy": "mean entropy (nats)",
    "seconds": "time of a run (s)",
}
COLORS = {"plain": "#6b7280", "kd": "#c2410c", "dml": "#1d4ed8"}

Overrides = list[tuple[str, Any]]


class Row(NamedTuple):
    """What one run gave on the test split; `seconds` is the time of the whole run, for each of its students."""

    method: str
    size: int
    seed: int
    accuracy: float
    ece: float
    entropy: float
    seconds: float


def main(arguments: list[str] | None = None) -> None:
    """Train a teacher and the students, write table and figure."""
    options = parse(arguments)
    # Networks this small are faster on one thread.
    torch.set_num_threads(1)
    common: Overrides = [("data", "digits"), *map(parse_override, options.settings)]
    if "kd" in options.methods:
        train("train", [*common, ("model", options.teacher)], options.out / "teacher")
    rows: list[Row] = []
    for seed in options.seeds:
        for size in options.sizes:
            rows += [measure(method, size, seed, common, options) for method in options.methods]
            print(", ".join(f"{row.method} {row.accuracy:.3f}" for row in rows[-len(options.methods) :]), size, seed)
    save(rows, options.out / "size_sweep.csv")
    draw(rows, options.figure or options.out / "size_sweep.png")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="as for understudy train, such as train.epochs=10")
    parser.add_argument("--sizes", type=numbers, default=[2, 3, 4, 5, 6, 8], help="in pixels; 2,3,4,5,6,8")
    parser.add_argument("--methods", type=methods, default=list(COLORS), help="some of plain,kd,dml; all")
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3], help="1,2,3")
    parser.add_argument("--teacher", default="cnn-m", help="a model, which is trained first; cnn-m")
    parser.add_argument("--student", default="cnn-xs", help="a model; cnn-xs")
    parser.add_argument("--out", type=Path, default=Path("runs/size-sweep"), help="where runs and results go")
    parser.add_argument("--figure", type=Path, help="a PNG or SVG file; by default in --out")
    return parser.parse_intermixed_args(arguments)


def numbers(text: str) -> list[int]:
    """`2,4,8` as numbers."""
    return [int(word) for word in text.split(",")]


def methods(text: str) -> list[str]:
    """`plain,kd` as words that are known."""
    unknown = set(text.split(",")) - set(COLORS)
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown.pop()!r} is none of {', '.join(COLORS)}")
    return text.split(",")


def measure(method: str, size: int, seed: int, common: Overrides, options: argparse.Namespace) -> Row:
    """Train with one method at one size and look at the test split."""
    out: Path = options.out / f"{method}-{size}-{seed}"
    student = [*common, ("student.size", size), ("seed", seed)]
    if method == "dml":
        student += [("students", [options.student] * 2)]
        seconds = timed(lambda: run_cohort(resolve_cohort([], [*student, ("out", str(out))]), say=silent), out)
    elif method == "kd":
        # Without a cache each run pays for its own teacher, so that times can be compared.
        chosen = [("student", options.student), ("teacher", str(options.out / "teacher")), ("cache", "off")]
        seconds = train("distill", [*chosen, *student], out)
    else:
        seconds = train("train", [("student", options.student), *student], out)
    found = [Predictions.load(path) for path in sorted(out.glob("**/logits-test.safetensors"))]
    figures = [statistics.mean(map(figure, found)) for figure in (top_accuracy, calibration_error, mean_entropy)]
    return Row(method, size, seed, *figures, seconds / len(found))


def train(command: Any, overrides: Overrides, out: Path) -> float:
    """A run of `understudy train` or `distill`; the seconds it took."""
    return timed(lambda: run(resolve(command, [], [*overrides, ("out", str(out))]), say=silent), out)


def timed(work: Callable[[], object], out: Path) -> float:
    """Do it and write down how long it took, or read that where it was done before."""
    note = out.with_name(f"{out.name}.seconds")
    if not note.exists():
        # A machine that others use, too, makes wall time on its CPU a matter of luck.
        clock = time.perf_counter if torch.cuda.is_available() else time.process_time
        start = clock()
        work()
        note.write_text(str(clock() - start))
    return float(note.read_text())


def silent(line: str) -> None:
    """Say nothing."""


def save(rows: Sequence[Row], path: Path) -> None:
    """One line for each run."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows([*row[:3], *(f"{value:.5f}" for value in row[3:])] for row in rows)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Mean over seeds of each figure against the size, with the standard deviation as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for method in dict.fromkeys(row.method for row in rows):
            sizes = sorted({row.size for row in rows})
            values = [[getattr(r, name) for r in rows if (r.method, r.size) == (method, size)] for size in sizes]
            means = [statistics.mean(column) for column in values]
            spread = [statistics.stdev(column) if len(column) > 1 else 0.0 for column in values]
            axes.plot(sizes, means, "o-", color=COLORS[method], label=method, markersize=4)
            low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
            axes.fill_between(sizes, low, high, color=COLORS[method], alpha=0.15, linewidth=0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("student's images (pixels)")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
