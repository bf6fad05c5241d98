"""Does self-distillation help, and whom: the network itself, or its exits?

For each architecture and seed three students from the same first weights on the same batches: `base` without exits,
`branches` with exits that learn from labels alone, `distilled` with exits that learn from the deepest one, too. The
differences are paired by seed. It writes exits_comparison.csv, a line for each exit of each run, and differences.csv;
finished runs are not repeated. Settings other than the method's are those of understudy train.

    python examples/exits_comparison.py
    python examples/exits_comparison.py data=cifar10 train.epochs=100 --models resnet20,vgg8,wrn-16-2 --exits 3
"""

import argparse
import csv
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from understudy.config import parse_override
from understudy.evaluation.statistics import paired_difference
from understudy.experiments.run import run
from understudy.experiments.settings import resolve

# With labels alone their weight is 1; with a teacher besides 0.7, the method's own setting, as in the paper.
WAYS: dict[str, dict[str, Any]] = {
    "base": {},
    "branches": {"method.ce": 1.0, "method.kd": 0, "method.hint": 0},
    "distilled": {},
}
MAIN_PAIRS = (("branches", "base"), ("distilled", "base"), ("distilled", "branches"))
EXIT_PAIRS = (("distilled", "branches"),)

Overrides = list[tuple[str, Any]]


class Row(NamedTuple):
    """The test accuracy of one exit of one run; exits are 1, 2, ... and main."""

    model: str
    seed: int
    way: str
    exit: str
    accuracy: float


class Difference(NamedTuple):
    """Treated minus baseline test accuracy over all seeds, in 0..1: mean, deviation, 95 % interval (Student's t)."""

    model: str
    exit: str
    treated: str
    baseline: str
    seeds: int
    mean: float
    std: float
    low: float
    high: float
    p_value: float


def main(arguments: list[str] | None = None) -> None:
    """Train all students, write the tables, print the differences."""
    options = parse(arguments)
    # Networks this small are faster on one thread.
    torch.set_num_threads(1)
    common: Overrides = [("data", "digits"), *map(parse_override, options.settings)]
    rows: list[Row] = []
    for model in options.models:
        for seed in range(1, options.seeds + 1):
            for way in WAYS:
                rows += measure(way, model, seed, common, options)
            reached = [f"{way} {accuracies(rows, model, way, 'main')[-1]:.2%}" for way in WAYS]
            print(f"{model}, seed {seed}: main exit of {', '.join(reached)}", flush=True)
    differences = compare(rows)
    save(rows, Row._fields, options.out / "exits_comparison.csv")
    save(differences, Difference._fields, options.out / "differences.csv")
    Console().print(means_table(rows), differences_table(differences))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="as for understudy train, such as train.epochs=10")
    parser.add_argument("--models", type=words, default=["cnn-m", "resnet8", "wrn-16-1"], help="cnn-m,resnet8,wrn-16-1")
    parser.add_argument("--exits", type=parse_exits, default=2, help="as student.exits: a number, auto or layers; 2")
    parser.add_argument("--seeds", type=int, default=5, help="two or more; 5")
    parser.add_argument("--out", type=Path, default=Path("runs/exits-comparison"), help="where runs and tables go")
    options = parser.parse_intermixed_args(arguments)
    if options.seeds < 2:
        parser.error(f"argument --seeds: {options.seeds} is too few for a deviation: give 2 or more")
    return options


def words(text: str) -> list[str]:
    """`a,b` as words."""
    return text.split(",")


def parse_exits(text: str) -> int | str | list[str]:
    """A number, `auto`, or layers."""
    return int(text) if text.isdigit() else text if text == "auto" else words(text)


def measure(way: str, model: str, seed: int, common: Overrides, options: argparse.Namespace) -> list[Row]:
    """Train one student, or read what it gave before."""
    settings = [*common, ("student", model), ("seed", seed), ("out", str(options.out / f"{model}-{way}-{seed}"))]
    if way == "base":
        accuracies = [run(resolve("train", [], settings), say=silent)["test"]["accuracy"]]
    else:
        chosen = {"method": "self-distillation", "student.exits": options.exits, **WAYS[way]}
        result = run(resolve("distill", [], [*settings, *chosen.items()]), say=silent)
        accuracies = [scores["accuracy"] for scores in result["exits"]["test"]]
    exits = [*map(str, range(1, len(accuracies))), "main"]
    return [Row(model, seed, way, *each) for each in zip(exits, accuracies, strict=True)]


def silent(line: str) -> None:
    """Say nothing."""


def compare(rows: Sequence[Row]) -> list[Difference]:
    """Differences of the main exit and of each early one, by architecture."""
    exits = dict.fromkeys((row.model, row.exit) for row in rows)
    pairs = {exit_: MAIN_PAIRS if exit_ == "main" else EXIT_PAIRS for _, exit_ in exits}
    return [difference(rows, model, exit_, *pair) for model, exit_ in exits for pair in pairs[exit_]]


def difference(rows: Sequence[Row], model: str, exit_: str, treated: str, baseline: str) -> Difference:
    """Of one exit of one architecture."""
    columns = [accuracies(rows, model, way, exit_) for way in (treated, baseline)]
    found = paired_difference(*columns)
    std = statistics.stdev(a - b for a, b in zip(*columns, strict=True))
    numbers = (found.num_pairs, found.mean, std, found.low, found.high, found.p_value)
    return Difference(model, exit_, treated, baseline, *numbers)


def accuracies(rows: Iterable[Row], model: str, way: str, exit_: str) -> list[float]:
    """By seed."""
    return [row.accuracy for row in rows if (row.model, row.way, row.exit) == (model, way, exit_)]


def save(rows: Iterable[Sequence[Any]], header: Sequence[str], path: Path) -> None:
    """As CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def means_table(rows: Sequence[Row]) -> Table:
    """Mean and standard deviation of the accuracy of each exit."""
    table = Table(title="test accuracy (%), mean and standard deviation", title_justify="left")
    exits = sorted({row.exit for row in rows})
    for column in ("model", "way", *exits):
        table.add_column(column)
    for model, way in dict.fromkeys((row.model, row.way) for row in rows):
        found = [accuracies(rows, model, way, exit_) for exit_ in exits]
        cells = [f"{100 * statistics.mean(v):.2f} ± {100 * statistics.stdev(v):.2f}" if v else "" for v in found]
        table.add_row(model, way, *cells)
    return table


def differences_table(differences: Sequence[Difference]) -> Table:
    """Which of them are more than chance."""
    table = Table(title="difference in points, paired by seed", title_justify="left", caption_justify="left")
    for column in ("model", "exit", "difference", "mean", "std", "95 % interval", "p"):
        table.add_column(column)
    for each in differences:
        numbers = [f"{100 * value:+.2f}" for value in (each.mean, each.low, each.high)]
        interval, std = f"[{numbers[1]}, {numbers[2]}]", f"{100 * each.std:.2f}"
        between = f"{each.treated} - {each.baseline}"
        table.add_row(each.model, each.exit, between, numbers[0], std, interval, f"{each.p_value:.2g}")
    table.caption = (
        f"{differences[0].seeds} seeds; intervals and p are not corrected for {len(differences)} comparisons"
    )
    return table


if __name__ == "__main__":
    main()
