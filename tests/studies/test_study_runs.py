"""Studies that run: what is left behind, and what happens when something goes wrong."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_studies import Studies, times
from rich.console import Console
from scipy import stats

from understudy.engine.interrupt import Interrupted
from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.experiments.run import run
from understudy.record import RunDirectory, write_json
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


def test_of_equal_differences_nothing_is_concluded(copied: Studies) -> None:
    runs = {(planned.arm, planned.seed): planned.directory for planned in copied(*TWO_ARMS).runs()}
    for (arm, seed), directory in runs.items():
        result = directory.read_result()
        result["test"]["accuracy"] = {"plain": 0.5, "kd": 0.6, "at": 0.7 + 0.01 * seed}[arm] + 0.1 * seed
        write_json(directory.result, result)
    summary = run_study(copied(*TWO_ARMS), say=silent)
    equal, other = summary["comparisons"]
    assert equal["mean"] == pytest.approx(0.1)
    assert [equal[key] for key in ("low", "high", "p_t", "p_holm", "seeds_needed")] == [None] * 5
    # It is a comparison all the same.
    assert other["p_holm"] == pytest.approx(2 * other["p_t"])
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparisons_table(summary))
    row = next(line for line in console.export_text().splitlines() if "kd - plain" in line)
    assert row.split()[:5] == ["kd", "-", "plain", "+10.00", "0.5"]
    assert "enough" not in row


def test_seeds_and_arms_may_be_added(copied: Studies) -> None:
    before = times(copied.out / "runs")
    summary = run_study(copied(("methods", ["kd", "at", "dkd"]), ("seeds", 3)), say=silent)
    assert [len(arm["runs"]) for arm in summary["arms"]] == [3, 3, 3, 3]
    after = times(copied.out / "runs")
    assert {path: after[path] for path in before} == before


def test_finished_runs_that_are_left_out_are_said(copied: Studies) -> None:
    said: list[str] = []
    run_study(copied(("methods", ["kd"]), ("seeds", 1)), say=said.append)
    assert any("holds 4 finished runs that are no longer part of the study, of at, kd, plain: name" in s for s in said)
    said.clear()
    summary = run_study(copied(*TWO_ARMS), say=said.append)
    assert (summary["finished"], said) == (6, [])


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
    assert text.count(" finished ") == 6
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


def test_folds_are_compared_over_their_seeds(study: Studies) -> None:
    summary = run_study(study(("method", "kd"), ("seeds", 2), ("folds", 3)), say=silent)
    (comparison,) = summary["comparisons"]
    runs = [{(run["seed"], run["fold"]): run for run in arm["runs"]} for arm in summary["arms"]]
    of_fold: list[float] = []
    for fold in (1, 2, 3):
        pairs = [(runs[1][seed, fold], runs[0][seed, fold]) for seed in (1, 2)]
        of_fold.append(sum(kd["test"]["accuracy"] - plain["test"]["accuracy"] for kd, plain in pairs) / 2)
    mean = sum(of_fold) / 3
    # What the images of each fold gain, if a result is the mean of what all others gain.
    groups = [mean * 3 - 2 * value for value in of_fold]
    interval = stats.ttest_1samp(groups, 0).confidence_interval(0.95)
    assert comparison["mean"] == pytest.approx(mean)
    assert (comparison["low"], comparison["high"]) == pytest.approx((interval.low, interval.high))
    assert (comparison["n"], comparison["p_sign"], comparison["seeds_needed"]) == (3, None, None)
    assert comparison["wins"] == sum(value > 0 for value in of_fold)
    kd = summary["arms"][1]["test"]["accuracy"]
    assert (kd["n"], kd["low"] < kd["mean"] < kd["high"]) == (6, True)
    folds = [RunDirectory(study.out / run["path"]).read_provenance()["data"] for run in runs[0].values()]
    assert len({each["fingerprint"] for each in folds}) == 3
    assert {each["images"]["test"] for each in folds} == {719}


def test_one_run_each_is_compared_over_images(study: Studies) -> None:
    (comparison,) = run_study(study(("method", "kd"), ("seeds", 1)), say=silent)["comparisons"]
    right = []
    for planned in study(("method", "kd"), ("seeds", 1)).runs():
        logits, labels = Predictions.load(planned.directory.logits("test"))
        right.append((logits.argmax(1) == labels).numpy())
    better, worse = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    # McNemar's exact test.
    p_value = stats.binomtest(better, better + worse).pvalue
    assert comparison["mcnemar"] == {"better": better, "worse": worse, "p": pytest.approx(p_value)}
    assert (comparison["n"], comparison["mean"]) == (1, pytest.approx((better - worse) / 719))
    assert [comparison[key] for key in ("low", "high", "p_t", "p_holm", "p_sign", "seeds_needed")] == [None] * 6
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparisons_table(StudyDirectory(study.out).read_summary()))
    assert f"+{better} -{worse} (p {p_value:.2g})" in console.export_text()


def test_plain_training_has_the_epochs_of_all_stages(study: Studies) -> None:
    methods = [{"name": "fitnets", "hint_epochs": 2}]
    arms = {"kd": {"method": "kd"}, "fitnets": {"method": methods}}
    summary = run_study(study(("arms", arms), ("seeds", 1)), say=silent)
    assert [arm["name"] for arm in summary["arms"]] == ["plain", "plain-train.epochs=3", "kd", "fitnets"]
    runs = {planned.arm: planned.directory.read_result() for planned in study(("arms", arms), ("seeds", 1)).runs()}
    stages = {name: sum(result["stages"].values()) for name, result in runs.items()}
    assert stages == {"plain": 1, "plain-train.epochs=3": 3, "kd": 1, "fitnets": 3}
    assert [each["against"] for each in summary["comparisons"]] == ["plain", "plain-train.epochs=3"]
    assert not any("epochs" in line for line in summary["warnings"])


def test_epochs_on_top_of_those_of_a_named_baseline_are_said(study: Studies) -> None:
    arms = {"base": {"method": []}, "fitnets": {"method": [{"name": "fitnets", "hint_epochs": 2}]}}
    summary = run_study(study(("arms", arms), ("baseline", "base"), ("seeds", 1)), say=silent)
    assert summary["warnings"][0] == "fitnets trains 2 more epochs than base"


def test_each_arm_has_its_own_teacher(study: Studies) -> None:
    other = study.out.parent / "other"
    shutil.copytree(study.teacher, other)
    arms = ("arms", {"kd": {}, "kd-other": {"teacher": str(other)}})
    summary = run_study(study(arms, ("seeds", 1)), say=silent)
    assert [arm["teacher"] for arm in summary["arms"]] == [None, str(study.teacher), str(other)]
    assert (summary["teacher"], summary["teacher_result"]) == (None, None)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(arms_table(summary))
    text = console.export_text()
    assert f"teacher {study.teacher}" in text
    assert f"teacher {other}" in text


def test_a_student_that_only_guesses_is_named(study: Studies) -> None:
    still = ("train.optimizer.lr", 1e-9)
    summary = run_study(study(("method", "kd"), ("seeds", 2), still), say=silent)
    assert all(each["at_chance"] for arm in summary["arms"] for each in arm["runs"])
    assert summary["warnings"][0] == "student did not train: plain seed 1 is no better than guessing"


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


SMALL = [("method", "kd"), ("seeds", 2), ("train.epochs", 40), ("train.optimizer.lr", 0.01)]


@pytest.mark.slow
def test_a_killed_worker_is_a_failed_run_and_after_ctrl_c_a_study_goes_on(study: Studies) -> None:
    found = study(*SMALL, ("executor", {"name": "local", "threads": 1}))
    untouched, killed, stopped, _ = (planned.directory for planned in found.runs())

    def meddle() -> None:
        os.kill(trainer_of(killed), signal.SIGKILL)
        trainer_of(stopped)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=meddle)
    thread.start()
    with pytest.raises(Interrupted):
        run_study(found, say=silent)
    thread.join()
    # It has waited until its worker had saved itself.
    assert not trainers(stopped)
    (failed,) = StudyDirectory(study.out).read_summary()["failed"]
    assert (failed["arm"], failed["seed"]) == ("kd", 1)
    assert failed["error"].startswith("killed by SIGKILL")
    before = times(untouched.path)
    check_goes_on(study, [killed, stopped])
    assert times(untouched.path) == before


SCRIPT = """
import understudy
print("once")
understudy.study("digits", {teacher!r}, student="cnn-xs", methods="kd", seeds=2, out={out!r}, settings={settings!r})
"""


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on(study: Studies) -> None:
    """It is that of a script without a guard, which its workers must not start once more."""
    settings = {key: value for key, value in [*study.common(), *SMALL] if "." in key or key == "device"}
    script, said = study.out.parent / "script.py", study.out.parent / "said.txt"
    script.write_text(SCRIPT.format(teacher=str(study.teacher), out=str(study.out), settings=settings))
    with said.open("w") as file:
        process = subprocess.Popen([sys.executable, str(script)], stdout=file, stderr=file)
    untouched, stopped, *_ = (planned.directory for planned in study(*SMALL).runs())
    trainer_of(stopped)
    before = times(untouched.path)
    process.kill()
    process.wait()
    assert untouched.finished()
    # Nobody waits for its worker, which stops all the same.
    until(lambda: not trainers(stopped))
    assert not stopped.finished()
    assert said.read_text().count("once") == 1
    check_goes_on(study, [stopped])
    assert times(untouched.path) == before


def check_goes_on(study: Studies, stopped: list[RunDirectory]) -> None:
    summary = run_study(study(*SMALL), say=silent)
    assert [[each["seed"] for each in arm["runs"]] for arm in summary["arms"]] == [[1, 2], [1, 2]]
    assert summary["failed"] == []
    for directory in stopped:
        assert "going on at step" in StudyDirectory(study.out).log(directory).read_text()


def until(what: Callable[[], object]) -> None:
    for _ in range(12_000):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def trainer_of(directory: RunDirectory) -> int:
    """The process that trains a run, once it has a checkpoint."""
    until(lambda: directory.last.exists() and trainers(directory))
    return trainers(directory)[0]


def trainers(directory: RunDirectory) -> list[int]:
    """Processes that write the log of a run."""
    log = str(StudyDirectory(directory.path.parents[2]).log(directory).resolve())
    return [int(place.parts[2]) for place in Path("/proc").glob("[0-9]*/fd/1") if target(place) == log]


def target(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None
