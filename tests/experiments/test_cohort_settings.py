from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.errors import UserError
from understudy.experiments.cohort_settings import CohortSettings, resolve_cohort

BASE = [("data", "digits"), ("students", ["cnn-xs", "cnn-s"])]


def resolved(*pairs: tuple[str, Any], files: list[Path] | None = None) -> CohortSettings:
    return resolve_cohort(files or [], [*(() if files else BASE), *pairs])


def test_students_share_settings_and_start_from_the_papers() -> None:
    settings = resolved(("out", "runs/c"), ("seed", 3), ("train.epochs", 2))
    assert [member.student["name"] for member in settings.members] == ["cnn-xs", "cnn-s"]
    assert [member.out for member in settings.members] == ["runs/c/0-cnn-xs", "runs/c/1-cnn-s"]
    for member in settings.members:
        assert (member.seed, member.train.epochs, member.teacher) == (3, 2, None)
        assert member.method == [{"name": "dml", "temperature": 1.0, "weight": 1.0}]
    assert settings.mutual.model_dump() == {"peers": "mean", "updates": "simultaneous", "weights": None}


def test_each_student_may_have_settings_an_optimizer_and_a_schedule_of_its_own() -> None:
    settings = resolved(
        ("students", [{"name": "cnn-xs", "width": 8}, "cnn-xs"]),
        ("student.width", 16),
        ("optimizers", [{"name": "sgd", "lr": 0.3}, "adamw"]),
        ("train.optimizer.lr", 0.02),
        ("schedules", ["constant", {"name": "cosine", "final": 0.1}]),
    )
    assert [member.student["width"] for member in settings.members] == [8, 16]
    optimizers = [member.train.optimizer for member in settings.members]
    assert [(each["name"], each["lr"]) for each in optimizers] == [("sgd", 0.3), ("adamw", 0.02)]
    assert [member.train.schedule["name"] for member in settings.members] == ["constant", "cosine"]
    assert settings.members[1].train.schedule["final"] == 0.1


@pytest.mark.parametrize(
    "pairs",
    [[], [("optimizers", ["sgd", "adamw"]), ("mutual.peers", "sum"), ("mutual.weights", [0, 1])]],
    ids=["shared", "own"],
)
def test_saved_settings_resolve_to_themselves_and_the_command_line_goes_over_them(
    pairs: list[tuple[str, Any]], tmp_path: Path
) -> None:
    first = resolved(("out", "runs/c"), *pairs)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(first.tree()))
    assert resolved(files=[tmp_path / "config.yaml"]) == first
    changed = resolved(("train.optimizer.lr", 0.5), ("student.size", 4), files=[tmp_path / "config.yaml"])
    assert [member.train.optimizer["lr"] for member in changed.members] == [0.5, 0.5]
    assert [member.student["size"] for member in changed.members] == [4, 4]


def test_without_out_the_same_command_finds_its_run_again() -> None:
    assert resolved(("seed", 2)).out == "runs/digits-cnn-xs-cnn-s-mutual-seed2"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("students", ["cnn-xs"])], "students"),
        ([("students", ["cnn-xs", {"width": 8}])], "has no name"),
        ([("students", ["cnn-xs", {"name": "cnn-s", "width": 8}])], "student.width"),
        ([("student", "cnn-xs")], "leave out student="),
        ([("teacher", "runs/teacher")], "leave out teacher="),
        ([("optimizers", ["sgd"])], "optimizers has 1 entries for 2 students"),
        ([("mutual.weights", [1, 1, 1])], "mutual.weights has 3 entries for 2 students"),
        ([("mutual.peer", "sum")], "did you mean 'peers'"),
        ([("mutual.peers", "median")], "mutual.peers"),
        ([("optimizers", ["sgd", {"name": "adamw", "momentum": 0.9}])], "momentum"),
    ],
)
def test_mistakes_are_one_line(pairs: list[tuple[str, Any]], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(*pairs)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_students_are_one_line() -> None:
    with pytest.raises(UserError, match="'students' is missing"):
        resolve_cohort([], [("data", "digits")])
