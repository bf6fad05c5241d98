"""What a finished run shows."""

import math
from collections.abc import Iterator
from typing import Any

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, note, ok, warning
from understudy.doctor.probe import PROBES
from understudy.evaluation.accuracy import at_chance
from understudy.record import RunDirectory, read_lines

# Points of accuracy.
LARGE_GAP = 0.15
# Standard errors between validation and test accuracy.
FAR = 3.0
# The last part of the training.
LATE = 0.95


@PROBES.register("trained")
def trained(case: Case) -> Iterator[Finding]:
    """A student at chance is an error; too few epochs, overfitting and a lucky validation split are warnings."""
    run = case.run
    if not run.finished():
        yield note("the run is not finished", fix="the same command goes on where it stopped")
        return
    result: dict[str, Any] = {**run.read_result(), "classes": len(case.data.classes)}
    epochs = _epochs(run)
    found = [finding for look in (_chance, _loss, _end, _gap, _splits) for finding in look(result, epochs)]
    yield from found
    test = f"{result['test']['accuracy']:.2%} on test"
    teacher = f", its teacher {result['teacher']['test']['accuracy']:.2%}" if result["teacher"] else ""
    if not found:
        yield ok("the student has learnt", test + teacher)


def _epochs(run: RunDirectory) -> list[dict[str, Any]]:
    return [line for line in read_lines(run.metrics) if line.get("kind") == "epoch" and "val.accuracy" in line]


def _chance(result: dict[str, Any], epochs: list[dict[str, Any]]) -> Iterator[Finding]:
    test, count = result["test"], result["images"]["test"]
    if at_chance(test["accuracy"], result["classes"], count):
        yield error(
            "the student did not train: it is no better than guessing",
            f"{test['accuracy']:.2%} of {count:,} test images",
            "train.optimizer.lr=0.001 and more train.epochs; the other findings first",
        )


def _loss(result: dict[str, Any], epochs: list[dict[str, Any]]) -> Iterator[Finding]:
    losses = [line["train.loss"] for line in epochs if "train.loss" in line]
    if not losses:
        return
    evidence = f"{losses[0]:.4g} in the first epoch, {losses[-1]:.4g} in the last"
    if not all(map(math.isfinite, losses)):
        yield error("the loss was not finite", evidence, "train.precision=fp32, or a smaller train.optimizer.lr")
    elif losses[-1] >= losses[0] and epochs[-1]["val.accuracy"] < epochs[0]["val.accuracy"]:
        # Where weights rise, the loss may rise as well.
        yield warning("the loss did not fall", evidence, "a smaller train.optimizer.lr, or train.clip=1")


def _end(result: dict[str, Any], epochs: list[dict[str, Any]]) -> Iterator[Finding]:
    best, last = result["selected"]["epoch"], result["epochs"]
    if len(epochs) > 2 and best == last and _rising(epochs):
        yield note(
            "the best epoch is the last one: the student was still improving",
            f"{epochs[-2]['val.accuracy']:.2%}, then {epochs[-1]['val.accuracy']:.2%} on validation",
            f"train.epochs={2 * last}",
        )


def _rising(epochs: list[dict[str, Any]]) -> bool:
    late = epochs[-max(2, round((1 - LATE) * len(epochs)) + 1) :]
    return late[-1]["val.accuracy"] - late[0]["val.accuracy"] > 0.005


def _gap(result: dict[str, Any], epochs: list[dict[str, Any]]) -> Iterator[Finding]:
    seen = [line for line in epochs if line["epoch"] + 1 == result["selected"]["epoch"] and "train.accuracy" in line]
    if seen and seen[0]["train.accuracy"] - seen[0]["val.accuracy"] > LARGE_GAP:
        yield warning(
            "the student knows its training images by heart",
            f"{seen[0]['train.accuracy']:.2%} on training, {seen[0]['val.accuracy']:.2%} on validation images",
            "more data.augment, train.optimizer.weight_decay, or data.unlabelled=FOLDER",
        )


def _splits(result: dict[str, Any], epochs: list[dict[str, Any]]) -> Iterator[Finding]:
    val, test = result["val"]["accuracy"], result["test"]["accuracy"]
    images = result["images"]
    error_of = sum(share * (1 - share) / images[split] for split, share in (("val", val), ("test", test))) ** 0.5
    if abs(val - test) > FAR * error_of + 0.01:
        yield warning(
            "validation and test images are not alike",
            f"{val:.2%} on {images['val']:,} validation, {test:.2%} on {images['test']:,} test images",
            "splits of the same source; a validation split that the selection does not wear out",
        )
