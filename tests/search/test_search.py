"""Searches that run: what is tried, what is chosen, what is left behind."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result as Outcome
from quick_searches import SPACE, Searches
from typer.testing import CliRunner

from understudy.cli import app
from understudy.engine.interrupt import Interrupted
from understudy.errors import UserError
from understudy.experiments.settings import resolve
from understudy.search.search import run_search
from understudy.search.settings import SearchDirectory, resolve_search
from understudy.studies.resolve import resolve_study

pytest.importorskip("optuna")

THREE = [("space", SPACE), ("trials", 3), ("seeds", 2), ("seed", 4)]


def silent(line: str) -> None: ...


@pytest.fixture(scope="module")
def finished(teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Searches:
    """A search of three trials with two seeds; to be read only."""
    search = Searches(teacher_run, tmp_path_factory.mktemp("finished") / "search")
    run_search(search(*THREE), say=silent)
    return search


@pytest.fixture
def copied(finished: Searches, tmp_path: Path) -> Searches:
    shutil.copytree(finished.out, tmp_path / "copied")
    return Searches(finished.teacher, tmp_path / "copied")


def outcome(search: Searches) -> dict[str, Any]:
    return SearchDirectory(search.out).read_summary()


def results(search: Searches, arm: str, number: int) -> list[Path]:
    return [search.out / f"runs/{arm}/trial{number:03d}/seed{seed}/result.json" for seed in (4, 5)]


def test_the_baseline_is_tuned_on_the_same_budget(finished: Searches) -> None:
    kd, plain = outcome(finished)["arms"]
    assert (kd["name"], plain["name"]) == ("kd", "plain")
    assert len(kd["trials"]) == len(plain["trials"]) == 3
    assert len(list(finished.out.glob("runs/*/*/*/result.json"))) == 2 * 3 * 2
    assert plain["space"] == {"train.optimizer.lr": [1e-4, 1e-1, "log"]}
    for arm in (kd, plain):
        for key, (low, high, *_) in arm["space"].items():
            tried = [trial["settings"][key] for trial in arm["trials"]]
            assert all(low <= value <= high for value in tried)
            assert len(set(tried)) == 3


def test_the_best_on_the_validation_split_is_chosen(finished: Searches) -> None:
    for arm in outcome(finished)["arms"]:
        means = []
        for trial in arm["trials"]:
            scores = [json.loads(path.read_text())["val"] for path in results(finished, arm["name"], trial["number"])]
            means.append(sum(each["accuracy"] for each in scores) / 2)
            assert trial["val"]["accuracy"] == pytest.approx(means[-1])
        assert arm["best"]["val"]["accuracy"] == pytest.approx(max(means))
    rows = list(csv.DictReader(SearchDirectory(finished.out).table.read_text().splitlines()))
    numbers = [(arm, str(number)) for arm in ("kd", "plain") for number in range(3)]
    assert [(row["arm"], row["trial"]) for row in rows] == numbers


def test_the_test_split_is_not_looked_at(copied: Searches) -> None:
    before = outcome(copied)
    for path in copied.out.glob("runs/*/*/*/result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "test": None}))
    for path in copied.out.glob("runs/*/*/*/logits-test.safetensors"):
        path.unlink()
    assert run_search(copied(*THREE), say=silent) == {**before, "name": "copied"}
    assert "test" not in json.dumps(before["arms"])


def test_what_was_found_is_confirmed_with_fresh_seeds(finished: Searches) -> None:
    directory = SearchDirectory(finished.out)
    kd, plain = (arm["best"]["settings"] for arm in outcome(finished)["arms"])
    study = resolve_study([directory.confirm], [])
    assert [(arm.name, arm.command, arm.against) for arm in study.arms] == [
        ("plain-tuned", "train", None),
        ("kd", "distill", "plain-tuned"),
    ]
    assert not set(study.seeds) & {4, 5}
    tuned, taught = (arm.settings for arm in study.arms)
    assert tuned.train.optimizer["lr"] == plain["train.optimizer.lr"]
    assert taught.train.optimizer["lr"] == kd["train.optimizer.lr"]
    assert (taught.method[0]["temperature"], taught.label.weight) == (kd["method.temperature"], kd["label.weight"])
    # The same as files for single runs.
    alone = resolve("distill", [directory.best("kd")], [("out", "-")])
    assert alone == taught
    assert resolve("train", [directory.best("plain")], [("out", "-")]) == tuned


def test_a_stopped_search_goes_on_as_if_it_had_not_been(finished: Searches, search: Searches) -> None:
    for count in (3, 2):
        stopping = ("executor", {"name": "one-process", "stop_after": count})
        with pytest.raises(Interrupted):
            run_search(search(*THREE, stopping), say=silent)
    found = run_search(search(*THREE), say=silent)
    assert found == outcome(finished)


def test_trials_may_be_added_and_other_settings_are_refused(copied: Searches) -> None:
    before = [path.stat().st_mtime_ns for path in sorted(copied.out.glob("runs/*/*/*/result.json"))]
    more = run_search(copied(*THREE, ("trials", 4)), say=silent)
    after = [path.stat().st_mtime_ns for path in sorted(copied.out.glob("runs/*/trial00[012]/*/result.json"))]
    assert after == before
    assert [len(arm["trials"]) for arm in more["arms"]] == [4, 4]
    with pytest.raises(UserError, match=r"other settings \(train was"):
        run_search(copied(*THREE, ("train.epochs", 2)), say=silent)


def test_trials_that_know_nothing_of_each_other(search: Searches) -> None:
    found = run_search(search(("space.label.weight", [0, 1]), ("trials", 3), ("parallel", 2)), say=silent)
    assert [[trial["number"] for trial in arm["trials"]] for arm in found["arms"]] == [[0, 1, 2], [0, 1, 2]]
    # Nothing of the space is of plain training, whose learning rate is tuned instead.
    assert found["arms"][1]["space"] == {"train.optimizer.lr": [0.001, 0.1, "log"]}


def test_a_trial_whose_settings_do_not_fit_together_is_one_that_failed(search: Searches) -> None:
    # Each is valid by itself, but SGD has no beta1.
    space = {"train.optimizer": ["sgd", "adamw"], "train.optimizer.beta1": [0.8, 0.9]}
    chosen, said = search(("space", space), ("trials", 3), ("baseline", "none")), list[str]()
    (arm,) = run_search(chosen, say=said.append)["arms"]
    failed = [trial["val"] is None for trial in arm["trials"]]
    assert failed == [trial["settings"]["train.optimizer"] == "sgd" for trial in arm["trials"]]
    assert set(failed) == {True, False}
    assert sum("failed (" in line and "beta1" in line for line in said) == sum(failed)
    assert run_search(chosen, say=silent)["arms"] == [arm]


WRONG = {
    "no space": ([], "'space' is missing"),
    "misspelt": ([("space", {"method.temperatures": [1, 2]})], "space of kd: .*did you mean 'temperature'"),
    "bad end": ([("space", {"label.weight": [-1, 1]})], "space of kd: label.weight=-1"),
    "whole number": (
        [("space", {"train.batch_size": [32, 64]})],
        r"batch_size=51.* for whole numbers give train.batch_size: \[32, 64, 'int'\]",
    ),
    "of teaching": (
        [("space", {"label.weight": [0, 1]}), ("baseline_space", {"method.temperature": [1, 2]})],
        "space of plain",
    ),
    "slurm": ([("space", SPACE), ("executor", "slurm")], "executor=slurm"),
    "no trials": ([("space", SPACE), ("trials", 0)], "trials=0"),
    "unknown": ([("space", SPACE), ("trails", 3)], "trails"),
}


def test_the_executor_is_local_unless_named() -> None:
    common = [("data", "digits"), ("student", "cnn-xs"), ("teacher", "cnn-s"), ("space", SPACE)]
    found = resolve_search([], [*common, ("executor.workers", 2)])
    assert found.chosen.executor == {"name": "local", "workers": 2, "threads": None}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(name: str, search: Searches) -> None:
    overrides, message = WRONG[name]
    with pytest.raises(UserError, match=message) as caught:
        search(*overrides)
    assert "\n" not in str(caught.value)
    assert not search.out.exists()


def call(*arguments: str | Path) -> Outcome:
    return CliRunner().invoke(app, ["search", *map(str, arguments)], env={"COLUMNS": "200"})


def test_the_command(search: Searches) -> None:
    words = ["data=digits", "student=cnn-xs", "device=cpu", "train.epochs=1", "executor=one-process", "cache=off"]
    words += [f"teacher={search.teacher}", f"out={search.out}", "space={label.weight: [0, 1]}", "trials=1"]
    dry = call(*words, "--dry-run")
    assert dry.exit_code == 0, (dry.stderr, dry.exception)
    assert "0 to 1" in dry.stdout
    assert not search.out.exists()
    done = call(*words)
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert f"understudy study -c {search.out / 'confirm.yaml'}" in done.stdout
    assert done.stdout.count("trial 1 of 1: ") == 2
    again = call(search.out)
    assert again.exit_code == 0, (again.stderr, again.exception)
    assert again.stdout.splitlines() == done.stdout.splitlines()[2:]


def test_an_arm_of_which_every_trial_fails_is_told_by_the_exit_code(search: Searches) -> None:
    words = ["data=digits", "student=cnn-xs", "device=cpu", "train.epochs=1", "executor=one-process", "cache=off"]
    words += [f"teacher={search.teacher}", f"out={search.out}", "space={label.weight: [0, 1]}", "trials=1"]
    outcome = call(*words, "method={name: at, pairs: [[layer1, layer7]]}")
    assert outcome.exit_code == 1
    assert "at trial 1 of 1: failed" in outcome.stdout
    assert "no trial of an arm came to its end" in outcome.stdout
    assert not (search.out / "confirm.yaml").exists()
