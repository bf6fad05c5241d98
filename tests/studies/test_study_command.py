"""`understudy study`, and the script for Slurm."""

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import Result as Outcome
from quick_studies import Studies
from typer.testing import CliRunner

from understudy.cli import app
from understudy.studies.study import run_study
from understudy.study_record import StudyDirectory
from understudy.yaml_file import read_yaml


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def call(*arguments: str | Path) -> Outcome:
    return CliRunner().invoke(app, ["study", *map(str, arguments)])


def test_a_study_from_flags_and_then_from_its_directory(study: Studies) -> None:
    dry = call(*study.words(), "methods=[kd,dkd]", "seeds=2", "--dry-run")
    assert dry.exit_code == 0, (dry.stderr, dry.exception)
    assert dry.stdout.count(" to do ") == 6
    assert "dkd/seed2" in dry.stdout
    assert not study.out.exists()
    first = call(*study.words(), "methods=[kd,dkd]", "seeds=2")
    assert first.exit_code == 0, (first.stderr, first.exception)
    for part in ("6 of 6: dkd seed 2: ", "kd - plain", "dkd - plain", f"wrote {study.out / 'arms.png'}"):
        assert part in first.stdout
    again = call(study.out)
    assert again.exit_code == 0, (again.stderr, again.exception)
    assert again.stdout.splitlines() == first.stdout.splitlines()[7:]
    listed = call(study.out, "seeds=3", "--dry-run")
    assert (listed.stdout.count(" finished "), listed.stdout.count(" to do ")) == (6, 3)


def test_a_study_that_was_moved_is_read_where_it_is(study: Studies) -> None:
    run_study(study(("method", "kd"), ("seeds", 1)), say=lambda line: None)
    study.out.rename(study.out.parent / "moved")
    outcome = call(study.out.parent / "moved")
    assert outcome.exit_code == 0, (outcome.stderr, outcome.exception)
    assert "to do" not in outcome.stdout
    assert "warning: one seed cannot tell" in outcome.stdout
    assert not study.out.exists()


def test_failed_runs_are_said_and_the_exit_code_is_1(study: Studies, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("seeds: 1\narms:\n  wrong: {method: {name: at, pairs: [[layer1, layer7]]}}\n  kd: {method: kd}\n")
    outcome = call(file, *study.words())
    assert outcome.exit_code == 1, (outcome.stderr, outcome.exception)
    assert "failed: wrong seed 1: " in outcome.stdout
    assert "layer7" in outcome.stdout
    assert (study.out / "runs/kd/seed1/result.json").exists()


def test_a_failed_run_is_named_with_its_fold(study: Studies) -> None:
    outcome = call(*study.words(), "arms.wrong.method={name: at, pairs: [[layer1, layer7]]}", "seeds=1", "folds=2")
    assert "failed: wrong seed 1 fold 2: " in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b"], "takes one file or study"),
        (["absent.yaml"], "cannot read settings"),
        (["."], "is no study"),
        (["seeds=2"], "'data' is missing"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call(*arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_the_script_for_slurm_does_each_missing_run_once(study: Studies) -> None:
    run_study(study(("method", "kd"), ("seeds", 1)), say=lambda line: None)
    options = "executor={name: slurm, parallel: 4, options: [--time=1:00:00]}"
    outcome = call(study.out, "seeds=3", options)
    assert outcome.exit_code == 0, (outcome.stderr, outcome.exception)
    script = study.out / "slurm.sh"
    assert f"wrote {script} for 4 runs" in outcome.stdout
    assert read_yaml(study.out / "study.yaml")["seeds"] == [1, 2, 3]
    text = script.read_text()
    assert "#SBATCH --array=0-3%4\n" in text
    assert "#SBATCH --time=1:00:00\n" in text
    tools = study.out.parent / "bin"
    tools.mkdir()
    (tools / "understudy").write_text('#!/bin/bash\necho "$@"\n')
    (tools / "understudy").chmod(0o755)
    said = [
        subprocess.run(
            ["bash", str(script)],
            env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(task)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for task in range(4)
    ]
    names = ["plain/seed2", "kd/seed2", "plain/seed3", "kd/seed3"]
    assert said == [f"study {study.out} --run {name}" for name in names]
    done = call(study.out, "--run", "kd/seed2")
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert (study.out / "runs/kd/seed2/result.json").exists()
    call(study.out)
    assert "for 3 runs" in call(study.out).stdout
    assert StudyDirectory(study.out).read_summary()["finished"] == 3


def test_one_run_that_fails_is_told_by_its_exit_code(study: Studies) -> None:
    wrong = ["arms.a.method={name: at, pairs: [[layer1, layer7]]}", "seeds=1"]
    call(*study.words(), *wrong)
    outcome = call(study.out, "--run", "a/seed1")
    assert outcome.exit_code == 1
    assert "layer7" in outcome.stdout
    assert call(study.out, "--run", "b/seed1").exit_code == 2
