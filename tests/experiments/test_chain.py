"""Chains of assistants and generations."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from understudy.cli import app
from understudy.errors import UserError
from understudy.experiments.chain import Link, rehearse, resolve_chain, run_chain
from understudy.experiments.run import run
from understudy.experiments.tables import chain_table

QUICK = [("data", "digits"), ("device", "cpu"), ("train.epochs", 1), ("train.optimizer.lr", 0.01)]


def chain(out: Path, *overrides: tuple[str, Any], files: tuple[Path, ...] = ()) -> list[Link]:
    return resolve_chain(files, [*QUICK, ("out", str(out)), *overrides])


def test_each_student_teaches_the_next(tmp_path: Path) -> None:
    links = chain(tmp_path, ("chain", ["cnn-s", "cnn-xs", "cnn-xs"]), ("method.temperature", 2), ("seed", 5))
    assert [link.command for link in links] == ["train", "distill", "distill"]
    assert [link.settings.student["name"] for link in links] == ["cnn-s", "cnn-xs", "cnn-xs"]
    assert [link.settings.out for link in links] == [
        str(tmp_path / name) for name in ("1-cnn-s", "2-cnn-xs", "3-cnn-xs")
    ]
    assert [link.settings.teacher and link.settings.teacher["name"] for link in links] == [
        None,
        str(tmp_path / "1-cnn-s"),
        str(tmp_path / "2-cnn-xs"),
    ]
    assert links[0].settings.method == []
    assert all(link.settings.method[0]["temperature"] == 2.0 for link in links[1:])
    assert {link.settings.seed for link in links} == {5}


def test_a_teacher_stands_before_the_chain(tmp_path: Path, teacher_run: Path) -> None:
    overrides = [("teacher", str(teacher_run)), ("teacher.temperature", "fit"), ("chain", ["cnn-s", "cnn-xs"])]
    links = chain(tmp_path, *overrides)
    assert [link.command for link in links] == ["distill", "distill"]
    first, second = (link.settings.teacher for link in links)
    assert first is not None
    assert second is not None
    assert (first["name"], first["temperature"]) == (str(teacher_run), "fit")
    assert (second["name"], second["temperature"]) == (str(tmp_path / "1-cnn-s"), None)


def test_generations_have_seeds_of_their_own(tmp_path: Path) -> None:
    links = chain(tmp_path, ("student", "cnn-xs"), ("generations", 3), ("seed", 4), ("label.weight", 0.5))
    assert [link.settings.seed for link in links] == [4, 5, 6]
    assert [link.settings.out for link in links] == [str(tmp_path / f"{number}-cnn-xs") for number in (1, 2, 3)]
    # The first one learns from labels alone, so what weighs them against a teacher is not its business.
    assert [link.settings.label.weight for link in links] == [None, 0.5, 0.5]


def test_a_file_may_hold_the_chain(tmp_path: Path) -> None:
    file = tmp_path / "chain.yaml"
    file.write_text("chain: [cnn-s, cnn-xs]\nmethod: {name: kd, temperature: 3}\ntrain: {epochs: 7, batch_size: 32}\n")
    links = chain(tmp_path / "out", ("method.weight", 0.5), files=(file,))
    assert links[1].settings.method[0]["temperature"] == 3.0
    assert links[1].settings.method[0]["weight"] == 0.5
    assert [(link.settings.train.epochs, link.settings.train.batch_size) for link in links] == [(1, 32)] * 2


def test_a_chain_runs_and_a_finished_part_is_only_read(tmp_path: Path) -> None:
    overrides = [("chain", ["cnn-s", "cnn-xs", "cnn-xs"]), ("train.epochs", 3)]
    first = chain(tmp_path, *overrides)
    run_chain(first[:2], say=lambda line: None)
    assert not (tmp_path / "3-cnn-xs").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    said: list[str] = []
    results = run_chain(chain(tmp_path, *overrides), say=said.append)
    assert sum("nothing to do" in line for line in said) == 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for result, name in zip(results, ("1-cnn-s", "2-cnn-xs", "3-cnn-xs"), strict=True):
        assert result == json.loads((tmp_path / name / "result.json").read_text())
    assert results[2]["teacher"]["val"] == results[1]["val"]
    assert [len(column._cells) for column in chain_table(results).columns] == [3] * 6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "chain=.*or generations="),
        ([("chain", ["cnn-s"]), ("generations", 2), ("student", "cnn-s")], "chain=.*or generations="),
        ([("chain", ["cnn-s"]), ("student", "cnn-s")], "leave out student="),
        ([("generations", 2)], "'student' is missing"),
        ([("generations", 0), ("student", "cnn-s")], "generations=0"),
        ([("chain", []), ("student", "cnn-s")], "chain"),
        ([("generations", 2), ("student", "cnn-s"), ("seed", "x")], "seed='x'"),
        ([("chain", ["cnn-s", "cnn-9"]), ("method", "kdd")], "kdd"),
    ],
)
def test_wrong_chains_are_one_line(tmp_path: Path, overrides: list[tuple[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        chain(tmp_path, *overrides)
    assert "\n" not in str(caught.value)


def test_out_is_needed() -> None:
    with pytest.raises(UserError, match="'out' is missing"):
        resolve_chain([], [*QUICK, ("chain", ["cnn-s"])])


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    words = [f"{key}={value}" for key, value in QUICK]
    command = ["chain", *words, "train.epochs=3", "student=cnn-s", "generations=2", f"out={tmp_path / 'runs'}"]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0, (outcome.stderr, outcome.exception)
    for number in (1, 2):
        result = json.loads((tmp_path / "runs" / f"{number}-cnn-s" / "result.json").read_text())
        assert f"{result['test']['accuracy']:.2%}" in outcome.stdout
    assert "labels alone" in outcome.stdout


def test_without_a_teacher_its_settings_are_for_the_students_that_teach(tmp_path: Path) -> None:
    file = tmp_path / "chain.yaml"
    file.write_text("chain: [cnn-s, cnn-xs, cnn-xs]\nteacher: {temperature: fit}\n")
    for links in (
        chain(tmp_path / "out", files=(file,)),
        chain(tmp_path / "out", ("chain", ["cnn-s", "cnn-xs", "cnn-xs"]), ("teacher.temperature", "fit")),
    ):
        assert links[0].command == "train"
        assert [link.settings.teacher and link.settings.teacher["temperature"] for link in links] == [
            None,
            "fit",
            "fit",
        ]
        names = [link.settings.teacher and link.settings.teacher["name"] for link in links]
        assert names == [None, str(tmp_path / "out" / "1-cnn-s"), str(tmp_path / "out" / "2-cnn-xs")]


LATE_MISTAKES = {
    "model": ([("chain", ["cnn-xs", "cnn-9"])], "cnn-9"),
    "teacher": ([("chain", ["cnn-xs", "cnn-s"]), ("teacher.temperatures", "fit")], "did you mean 'temperature'"),
    "pairs": ([("chain", ["cnn-xs", "cnn-s"]), ("method", "at"), ("method.pairs", [["layer1", "layer7"]])], "layer7"),
    "kind": ([("chain", ["cnn-xs", "cnn-s"]), ("method", "at"), ("method.pairs", [["fc", "fc"]])], "map"),
    "logger": ([("chain", ["cnn-xs", "cnn-s"]), ("loggers", ["wandb"])], "pip install"),
}


@pytest.mark.parametrize("name", LATE_MISTAKES)
def test_a_mistake_in_a_late_link_is_found_before_the_first_trains(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    overrides, message = LATE_MISTAKES[name]
    with pytest.raises(UserError, match=message):
        run_chain(chain(tmp_path / "out", *overrides), say=lambda line: None)
    assert not (tmp_path / "out").exists()


def test_equal_students_are_no_mistake(tmp_path: Path) -> None:
    links = chain(tmp_path, ("chain", ["cnn-xs", "cnn-xs"]), ("method.weight", 1), ("label.weight", 0))
    assert len(list(rehearse(links, say=lambda line: None))) == 2


def test_a_finished_link_is_not_rehearsed(tmp_path: Path) -> None:
    overrides = [("chain", ["cnn-s", "cnn-xs"]), ("train.epochs", 3)]
    run(chain(tmp_path, *overrides)[0].settings, say=lambda line: None)
    said: list[str] = []
    [made] = rehearse(chain(tmp_path, *overrides), say=said.append)
    assert made.settings.student["name"] == "cnn-xs"
    assert made.settings.teacher is not None
    assert made.settings.teacher["name"] == str(tmp_path / "1-cnn-s")
    assert "it is finished" in said


def test_dry_run_shows_each_link_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    words = [f"{key}={value}" for key, value in QUICK]
    outcome = CliRunner().invoke(app, ["chain", *words, "chain=[cnn-s,cnn-xs]", f"out={tmp_path / 'o'}", "--dry-run"])
    assert outcome.exit_code == 0, (outcome.stderr, outcome.exception)
    for part in ("link 1 of 2: cnn-s", "link 2 of 2: cnn-xs", "1-cnn-s", "2-cnn-xs", "kd (temperature"):
        assert part in outcome.stdout
    assert list(tmp_path.iterdir()) == []
