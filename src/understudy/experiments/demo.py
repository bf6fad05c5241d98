"""The main job on an embedded data set: does distillation help a small student on handwritten digits?"""

import csv
import io
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from understudy.evaluation.statistics import PairedDifference, paired_difference
from understudy.experiments.run import Result, run
from understudy.experiments.settings import Command, resolve
from understudy.record import write_text

TEACHER, STUDENT = "cnn-m", "cnn-xs"


class Comparison(NamedTuple):
    """A teacher, and students of the same seeds without and with it.

    Attributes:
        teacher: Result of the teacher's run.
        plain: Results of plain training, one for each seed.
        distilled: Results of distillation, in the same order.
        difference: Distilled minus plain test accuracy.
    """

    teacher: Result
    plain: list[Result]
    distilled: list[Result]
    difference: PairedDifference


def run_demo(out: Path, *, num_seeds: int = 10, say: Callable[[str], None] = print) -> Comparison:
    """Train a teacher and pairs of students with the defaults; finished runs are not repeated.

    Args:
        out: Where the runs go.
        num_seeds: Pairs of students, two or more.
        say: Takes each line that the user should read.
    """
    # Networks this small are faster on one thread, and the figures then do not depend on the number of cores.
    torch.set_num_threads(1)
    say(f"training the teacher {TEACHER} on the digits")
    teacher = _run("train", out / "teacher", student=TEACHER, seed=0)
    say(f"teacher: {teacher['test']['accuracy']:.2%} on the test split")
    plain: list[Result] = []
    distilled: list[Result] = []
    for seed in range(1, num_seeds + 1):
        plain.append(_run("train", out / f"plain-{seed}", student=STUDENT, seed=seed))
        taught = {"teacher": str(out / "teacher"), "method": "kd", "cache.path": str(out / "cache")}
        distilled.append(_run("distill", out / f"kd-{seed}", student=STUDENT, seed=seed, **taught))
        say(f"seed {seed} of {num_seeds}: plain {accuracy(plain[-1]):.2%}, distilled {accuracy(distilled[-1]):.2%}")
    difference = paired_difference([accuracy(r) for r in distilled], [accuracy(r) for r in plain])
    return Comparison(teacher, plain, distilled, difference)


def accuracy(result: Result) -> float:
    """Test accuracy of a run, 0..1."""
    return result["test"]["accuracy"]


def spread(results: list[Result]) -> tuple[float, float]:
    """Mean and sample standard deviation of the test accuracy."""
    values = [accuracy(result) for result in results]
    return statistics.mean(values), statistics.stdev(values)


def save_demo(comparison: Comparison, out: Path) -> Path:
    """Write the numbers behind the table as CSV, one line for each run."""
    rows = [("teacher", comparison.teacher)]
    rows += [("plain", result) for result in comparison.plain]
    rows += [("distilled", result) for result in comparison.distilled]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["kind", "student", "seed", "selected_epoch", "val_accuracy", "test_accuracy"])
    for kind, result in rows:
        epoch, val = result["selected"]["epoch"], result["val"]["accuracy"]
        writer.writerow([kind, result["student"], result["seed"], epoch, val, accuracy(result)])
    write_text(out / "demo.csv", text.getvalue())
    return out / "demo.csv"


def _run(command: Command, out: Path, **chosen: Any) -> Result:
    settings = resolve(command, [], [("data", "digits"), ("out", str(out)), *chosen.items()])
    return run(settings, say=lambda line: None)
