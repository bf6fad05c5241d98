"""A run, with or without a baseline, as the subject of a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from understudy.errors import UserError
from understudy.evaluation.accuracy import at_chance
from understudy.evaluation.predictions import Predictions
from understudy.record import RunDirectory, differences
from understudy.report.subject import Member, Role, Subject, accuracies_of, read_evaluation, teacher_of

# What tells a student that is taught from its baseline, as `understudy train -c` leaves it out, and what changes no
# result: where the data are (their fingerprints are compared), how they are read, and what is written when.
MAY_DIFFER = (
    *("method", "teacher", "cache", "label.weight", "student.exit"),
    *("data.name", "data.path", "data.root", "data.download", "data.workers", "train.log_steps", "train.save_minutes"),
)


def run_subject(path: str | Path, *, baseline: str | Path | None = None) -> Subject:
    """Read a finished run, its teacher, and what it is compared with.

    Args:
        path: A run directory.
        baseline: Another, of the same student on the same data, trained without help.

    Raises:
        UserError: A run is not finished or holds several students, or the two saw different test images.
    """
    run = _opened(path)
    result, evaluation = run.read_result(), read_evaluation(run)
    members = [teacher] if (teacher := teacher_of(evaluation, name=_teacher_name(result))) else []
    warnings: list[str] = []
    name, plain = _method_name(result), None
    if baseline is not None:
        other = _opened(baseline)
        _check_comparable(run, other)
        warnings += _differences(run, other)
        label = _method_name(other.read_result())
        plain = _member(other, "baseline", label if label != name else f"{label} ({other.path.name})", 1)
        members.append(plain)
    main = _member(run, "student", name, 2)
    members.append(main)
    warnings += [
        f"{member.name} did not train: it is no better than guessing on the test split"
        for member in members
        if member.runs and did_not_train(member.runs[0])
    ]
    title = f"{main.name}: {main.network} on {evaluation['data']}"
    return Subject(run.path, title, evaluation["data"], members, main, plain, result["images"], warnings=warnings)


def did_not_train(run: RunDirectory) -> bool:
    """Whether the student of a run is no better than guessing on the test split."""
    result = run.read_result()
    num_classes = len(read_evaluation(run)["classes"])
    return at_chance(result["test"]["accuracy"], num_classes, result["images"]["test"])


def network_name(name: str) -> str:
    """What a model is called: the architecture if the name is that of a run, else without folders."""
    directory = RunDirectory(name)
    if directory.config.exists():
        return network_name(str(directory.read_config()["student"]["name"]))
    return Path(name).name if "/" in name else name


def _teacher_name(result: Mapping[str, Any]) -> str | None:
    teacher = result["teacher"]
    return teacher and " + ".join(network_name(part) for part in teacher["name"].split(" + "))


def _opened(path: str | Path) -> RunDirectory:
    run = RunDirectory(path)
    run.read_config()
    if "students" in (result := run.read_result()):
        names = " or ".join(str(directory) for directory in result["directories"])
        raise UserError(f"'{path}' holds several students: name one of them, {names}")
    return run


def _method_name(result: Mapping[str, Any]) -> str:
    return " + ".join(result["method"]) or "plain"


def _member(run: RunDirectory, role: Role, name: str, number: int) -> Member:
    result, evaluation = run.read_result(), read_evaluation(run)
    return Member(
        role,
        name,
        network_name(result["student"]),
        accuracies_of(evaluation),
        evaluation["cost"],
        runs=[run],
        evaluated=[evaluation["splits"]],
        number=number,
    )


def _check_comparable(run: RunDirectory, other: RunDirectory) -> None:
    labels, others = (Predictions.load(each.logits("test")).labels for each in (run, other))
    prints = [each.read_provenance().get("data", {}).get("fingerprint") for each in (run, other)]
    if prints[0] != prints[1] or not torch.equal(labels, others):
        raise UserError(f"baseline='{other.path}' was trained or tested on other data than '{run.path}'")


def _differences(run: RunDirectory, other: RunDirectory) -> list[str]:
    """In what the two differ that should be equal."""
    mine, theirs = run.read_config(), other.read_config()
    changed = differences(mine, theirs).items()
    lines = [
        f"not the same {key}: {a} here, {b} in the baseline"
        for key, (a, b) in changed
        if not key.startswith(MAY_DIFFER)
    ]
    if taught := other.read_result()["method"]:
        lines.insert(0, f"the baseline is not plain training: it learnt by {' + '.join(taught)}")
    return lines
