"""Studies that run: what is left behind, and what happens when something goes wrong."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child_processes import command_line, finish, start
from quick_studies import Studies, holder, times
from rich.console import Console

from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.experiments.run import run
from understudy.record import RunDirectory
from understudy.report.study import save_study_figure
from understudy.studies.study import run_study
from understudy.studies.tables import arms_table, comparisons_table, plan_table
from understudy.study_record import StudyDirectory


def silent(line: str) -> None: ...


TWO_ARMS = [("methods", ["kd", "at"]), ("seeds", 2)]


@pytest.fixture(scope="module")
def finished(teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Studies:
    """A study that is finished, of two arms and plain training with two seeds; to be read only."""
    study = Studies(teacher_run, tmp_path_factory.mktemp("finished") / "study")
    run_study(study(*TWO_ARMS), say=silent)
    return study


@pytest.fixture
def copied(finished: Studies, tmp_path: Path) -> Studies:
    shutil.copytree(finished.out, tmp_path / "copied")
    return Studies(finished.teacher, tmp_path / "copied")


def test_so_many_seeds_are_so_many_records(finished: Studies) -> None:
    directory = StudyDirectory(finished.out)
    summary = directory.read_summary()
    assert [(arm["name"], [each["seed"] for each in arm["runs"]]) for arm in summary["arms"]] == [
        (name, [1, 2]) for name in ("plain", "kd", "at")
    ]
    assert (summary["planned"], summary["finished"], summary["failed"]) == (6, 6, [])
    for arm in summary["arms"]:
        results = [each.read_result() for each in directory.runs_of(arm)]
        assert [result["seed"] for result in results] == [1, 2]
        values = [result["test"]["accuracy"] for result in results]
        found = arm["test"]["accuracy"]
        assert (found["mean"], found["std"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
        assert found["n"] == 2
    assert summary["teacher_result"]["name"] == str(finished.teacher)
    rows = list(csv.DictReader(directory.table.read_text().splitlines()))
    assert len(rows) == 6
    assert rows[2]["test_accuracy"] == str(summary["arms"][1]["runs"][0]["test"]["accuracy"])


def test_a_finished_study_is_only_read(finished: Studies) -> None:
    before = times(finished.out / "runs")
    summary = StudyDirectory(finished.out).read_summary()
    assert run_study(finished(*TWO_ARMS), say=silent) == summary
    assert times(finished.out / "runs") == before


def test_pairs_are_those_of_a_seed(finished: Studies) -> None:
    comparison = StudyDirectory(finished.out).read_summary()["comparisons"][0]
    correct: dict[str, list[Any]] = {"plain": [], "kd": [], "at": []}
    for planned in finished(*TWO_ARMS).runs():
        logits, labels = Predictions.load(planned.directory.logits("test"))
        correct[planned.arm].append((logits.argmax(1) == labels).numpy())
    differences = np.mean(correct["kd"], axis=1) - np.mean(correct["plain"], axis=1)
    assert (comparison["arm"], comparison["against"], comparison["n"]) == ("kd", "plain", 2)
    assert comparison["mean"] == pytest.approx(differences.mean())
    assert comparison["wins"] == (differences > 0).sum()
    net = np.sum(correct["kd"], axis=0) - np.sum(correct["plain"], axis=0)
    assert (comparison["mcnemar"]["better"], comparison["mcnemar"]["worse"]) == ((net > 0).sum(), (net < 0).sum())


def test_seeds_and_arms_may_be_added(copied: Studies) -> None:
    before = times(copied.out / "runs")
    summary = run_study(copied(("methods", ["kd", "at", "dkd"]), ("seeds", 3)), say=silent)
    assert [len(arm["runs"]) for arm in summary["arms"]] == [3, 3, 3, 3]
    after = times(copied.out / "runs")
    assert {path: after[path] for path in before} == before


def test_other_settings_in_the_same_place_are_refused_before_anything_runs(copied: Studies) -> None:
    before = times(copied.out)
    with pytest.raises(UserError, match=r"other settings \(train.epochs was 1, is 2\)"):
        run_study(copied(*TWO_ARMS, ("seeds", 3), ("train.epochs", 2)), say=silent)
    assert times(copied.out) == before


def test_tables_and_figure_hold_what_came_out(finished: Studies, tmp_path: Path) -> None:
    summary = StudyDirectory(finished.out).read_summary()
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(arms_table(summary), comparisons_table(summary), plan_table(finished(*TWO_ARMS).runs()))
    text = console.export_text()
    for arm in summary["arms"]:
        assert f"{arm['test']['accuracy']['mean']:.2%} ± {arm['test']['accuracy']['std']:.2%}" in text
    for each in summary["comparisons"]:
        assert f"{each['mean'] * 100:+.2f}" in text
    assert text.count("│ finished │") == 6
    figure = save_study_figure(summary, tmp_path / "arms.png")
    assert figure.stat().st_size > 5000
    rows = list(csv.DictReader(figure.with_suffix(".csv").read_text().splitlines()))
    assert [(row["arm"], row["seed"]) for row in rows[:2]] == [("plain", "1"), ("plain", "2")]
    assert float(rows[0]["test_accuracy_percent"]) == 100 * summary["arms"][0]["runs"][0]["test"]["accuracy"]


def test_a_place_with_other_files_is_refused(study: Studies) -> None:
    study.out.mkdir()
    (study.out / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds no study"):
        run_study(study(("method", "kd")), say=silent)


def test_a_missing_teacher_is_found_before_anything_is_written(study: Studies) -> None:
    study.teacher = study.teacher.parent / "absent"
    with pytest.raises(UserError, match="no such teacher"):
        run_study(study(("method", "kd")), say=silent)
    assert not study.out.exists()


def test_one_arm_that_fails_does_not_stop_the_others(study: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = ("arms", {"wrong": {"method": {"name": "at", "pairs": [["layer1", "layer7"]]}}, "kd": {"method": "kd"}})
    summary = run_study(study(arms, ("seeds", 2)), say=silent)
    assert [len(arm["runs"]) for arm in summary["arms"]] == [2, 0, 2]
    assert [(each["arm"], each["seed"]) for each in summary["failed"]] == [("wrong", 1), ("wrong", 2)]
    assert all("layer7" in each["error"] and "\n" not in each["error"] for each in summary["failed"])
    assert [each["arm"] for each in summary["comparisons"]] == ["kd"]
    # A crash is a failure too, and what failed is tried again.
    monkeypatch.setattr("understudy.studies.planned.run", lambda settings, say: 1 / 0)
    again = run_study(study(arms, ("seeds", 2)), say=silent)
    assert {each["error"] for each in again["failed"]} == {"ZeroDivisionError: division by zero"}
    monkeypatch.undo()
    mended = ("arms", {"wrong": {"method": "at"}, "kd": {"method": "kd"}})
    summary = run_study(study(mended, ("seeds", 2)), say=silent)
    assert ([len(arm["runs"]) for arm in summary["arms"]], summary["failed"]) == ([2, 2, 2], [])


def test_folds_are_compared_with_the_corrected_test(study: Studies) -> None:
    summary = run_study(study(("method", "kd"), ("seeds", 1), ("folds", 3)), say=silent)
    (comparison,) = summary["comparisons"]
    by_arm = [[each["test"]["accuracy"] for each in arm["runs"]] for arm in summary["arms"]]
    differences = np.subtract(by_arm[1], by_arm[0])
    half = 4.302653 * np.sqrt((1 / 3 + 1 / 2) * differences.var(ddof=1))
    assert (comparison["low"], comparison["high"]) == pytest.approx(
        (differences.mean() - half, differences.mean() + half), rel=1e-6
    )
    assert (comparison["n"], comparison["p_sign"], comparison["seeds_needed"]) == (3, None, None)
    folds = [RunDirectory(study.out / each["path"]).read_provenance()["data"] for each in summary["arms"][0]["runs"]]
    assert len({each["fingerprint"] for each in folds}) == 3
    assert {each["images"]["test"] for each in folds} == {719}


def test_a_student_that_only_guesses_is_named(study: Studies) -> None:
    still = ("train.optimizer.lr", 1e-9)
    summary = run_study(study(("method", "kd"), ("seeds", 2), still), say=silent)
    assert all(each["at_chance"] for arm in summary["arms"] for each in arm["runs"])
    assert summary["warnings"][0] == "student did not train: plain seed 1 is no better than guessing"


COMMAND = ["data=digits", "student=cnn-xs", "device=cpu", "train.optimizer.lr=0.01", "method=kd"]


def command(study: Studies, *more: str) -> list[str]:
    common = [*COMMAND, f"teacher={study.teacher}", f"cache.path={study.out.parent / 'cache'}", f"out={study.out}"]
    return ["study", *common, *more]


@pytest.mark.slow
def test_workers_make_what_a_command_by_hand_makes(study: Studies) -> None:
    arguments = ("executor", {"name": "local", "workers": 2, "threads": 1})
    found = study(("method", "kd"), ("seeds", 1), arguments)
    summary = run_study(found, say=silent)
    assert summary["finished"] == 2
    for planned in found.runs():
        by_hand = study.out.parent / planned.arm
        run(planned.settings.model_copy(update={"out": str(by_hand)}), say=silent)
        assert (by_hand / "student.safetensors").read_bytes() == planned.directory.student.read_bytes()
        assert planned.log.read_text()


@pytest.mark.slow
def test_a_script_without_a_guard_starts_one_study(study: Studies, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import understudy
print("once")
settings = {{"train.epochs": 1, "device": "cpu", "cache": "off"}}
found = understudy.study("digits", "{study.teacher}", student="cnn-xs", seeds=[1], out="study", settings=settings)
print(found["finished"], "finished")
""")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("once"), done.stdout.count("2 finished")) == (1, 1)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_failed_run(study: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    found = study(("method", "kd"), ("seeds", 1), ("train.epochs", 2000), executor="local")
    plain, kd = found.runs()

    process = start(run_and_report, found, str(study.out.parent / "summary.json"))
    for planned in (plain, kd):
        os.kill(holder(planned.directory), signal.SIGKILL)
    assert finish(process) == [0]
    summary = json.loads((study.out.parent / "summary.json").read_text())
    assert [each["error"].startswith("killed by SIGKILL") for each in summary["failed"]] == [True, True]


def run_and_report(found: Any, out: str) -> None:
    Path(out).write_text(json.dumps(run_study(found, say=silent)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_study_goes_on_where_it_was(number: signal.Signals, study: Studies) -> None:
    arguments = command(study, "train.epochs=60", "seeds=2")
    process = start(command_line, *arguments)
    first = RunDirectory(study.out / "runs/plain/seed1")
    second = RunDirectory(study.out / "runs/kd/seed1")
    # In the middle of the second run.
    trained_by = holder(second)
    before = times(first.path)
    assert first.finished()
    assert process.pid is not None
    os.kill(process.pid, number)
    assert finish(process) == [-9 if number == signal.SIGKILL else 130]
    while Path(f"/proc/{trained_by}").exists():
        time.sleep(0.01)
    assert not second.finished()
    process = start(command_line, *arguments)
    assert finish(process) == [0]
    summary = StudyDirectory(study.out).read_summary()
    assert [len(arm["runs"]) for arm in summary["arms"]] == [2, 2]
    assert times(first.path) == before
    assert "going on at step" in (study.out / "runs/kd/seed1.log").read_text()
