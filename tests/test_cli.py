import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result as Outcome
from safetensors.torch import load_file
from torch.testing import assert_close
from typer.testing import CliRunner

from understudy.cli import app
from understudy.experiments import settings as run_settings

QUICK = ["device=cpu", "train.epochs=1"]
DISTILL = ["distill", "data=digits", "student=cnn-xs", *QUICK]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def call(*arguments: str) -> Outcome:
    return CliRunner().invoke(app, list(arguments))


def done(*arguments: str) -> str:
    outcome = call(*arguments)
    assert outcome.exit_code == 0, (outcome.stderr, outcome.exception)
    return outcome.stdout


def student(out: str) -> bytes:
    return Path(out, "student.safetensors").read_bytes()


COMMANDS = [
    "doctor",
    "train",
    "distill",
    "chain",
    "mutual",
    "study",
    "search",
    "evaluate",
    "report",
    "demo",
    "match",
    "multiple-exp",
    "reproduce",
    "models",
    "datasets",
    "methods show",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    assert f"understudy {command}" in done(*command.split(), "--help").split("Usage")[1].partition("\n")[2]


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from understudy.cli import app; app(['distill', '--help'], standalone_mode=False); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_teacher_student_and_evaluation() -> None:
    done("train", "data=digits", "model=cnn-s", "device=cpu", "train.epochs=2", "out=runs/teacher")
    shown = done(*DISTILL, "teacher=runs/teacher", "method=logit-mse", "method.weight=0.7", "out=runs/mse")
    result = json.loads(Path("runs/mse/result.json").read_text())
    assert f"{result['test']['accuracy']:.2%}" in shown
    assert result["method"] == ["logit-mse"]
    shown = done("evaluate", "runs/mse")
    for split in ("val", "test"):
        assert f"{result[split]['accuracy']:.2%}" in shown
    record = json.loads(Path("runs/mse/evaluation.json").read_text())
    assert f"T={record['splits']['test']['temperature']['value']:.3f}" in shown
    assert f"{record['splits']['test']['fidelity']['agreement']:.2%}" in shown
    assert Path("runs/mse/evaluation/reliability.png").stat().st_size > 5000


def test_saved_settings_repeat_a_run_bit_for_bit(teacher_run: Path) -> None:
    done(*DISTILL, f"teacher={teacher_run}", "method.temperature=2", "out=runs/first")
    done("distill", "-c", "runs/first/config.yaml", "out=runs/again")
    done("distill", "--config", "runs/first/config.yaml", "seed=1", "out=runs/other")
    assert student("runs/again") == student("runs/first")
    assert student("runs/other") != student("runs/first")


def test_the_same_command_twice_does_nothing_the_second_time(teacher_run: Path) -> None:
    command = [*DISTILL, f"teacher={teacher_run}"]
    done(*command)
    before = student("runs/digits-cnn-xs-kd-seed0")
    assert "is finished: nothing to do" in done(*command)
    assert student("runs/digits-cnn-xs-kd-seed0") == before


def test_a_folder_of_photographs(image_folder: Path) -> None:
    done("train", f"data={image_folder}", "model=resnet8", "data.size=16", *QUICK, "train.batch_size=8", "out=run")
    images = json.loads(Path("run/result.json").read_text())["images"]
    assert images["test"] == 6
    before = sorted(path.name for path in Path("run").iterdir())
    assert "wrote" not in done("evaluate", "run", f"data={image_folder}")
    shown = done("evaluate", "run", f"data={image_folder}", "data.validation=0.5", "out=elsewhere")
    assert "wrote elsewhere/evaluation.json and elsewhere/evaluation/reliability.png" in shown
    assert sorted(path.name for path in Path("run").iterdir()) == before
    splits = json.loads(Path("elsewhere/evaluation.json").read_text())["splits"]
    assert splits["test"]["images"] == 6
    assert splits["val"]["images"] > images["val"]


def test_dry_run_shows_the_plan_and_writes_nothing(teacher_run: Path) -> None:
    shown = done(*DISTILL, f"teacher={teacher_run}", "train.batch_size=50", "--dry-run")
    for part in ("cnn-xs", "layer1", "kd", "batch 50", "runs/digits-cnn-xs-kd-seed0"):
        assert part in shown
    assert not any(Path().iterdir())


def test_lists_name_what_there_is() -> None:
    assert "resnet20" in done("models")
    assert "imagewoof" in done("datasets")
    assert "logit-mse" in done("methods")
    page = done("methods", "show", "kd")
    for part in ("Hinton", "temperature", "4.0"):
        assert part in page


BAD = {
    "data": (["train", "data=digit", "model=cnn-m"], "did you mean 'digits'"),
    "folder": (["train", "data=no/such/folder", "model=cnn-m"], "no such folder"),
    "model": (["train", "data=digits", "model=resnet21"], "resnet2"),
    "torchvision": (["train", "data=digits", "model=torchvision:resnet19"], "did you mean 'resnet1"),
    "key": (["train", "data=digits", "model=cnn-m", "train.epoch=3"], "did you mean 'epochs'"),
    "type": (["train", "data=digits", "model=cnn-m", "train.epochs=many"], "train.epochs='many'"),
    "override": (["train", "data=digits", "cnn-m"], "cnn-m"),
    "yaml": (["train", "data=digits", "model=[a"], "not valid YAML"),
    "no model": (["train", "data=digits"], "'model' is missing"),
    "no teacher": (["distill", "data=digits", "student=cnn-xs"], "'teacher' is missing"),
    "teacher": (["distill", "data=digits", "student=cnn-xs", "teacher=runs/none"], "runs/none"),
    "untrained": (["distill", "data=digits", "student=cnn-xs", "teacher=cnn-s"], "no better than guessing"),
    "method": (["distill", "data=digits", "student=cnn-xs", "teacher=cnn-s", "method=kdd"], "did you mean 'kd'"),
    "config": (["train", "-c", "none.yaml"], "cannot read settings from 'none.yaml'"),
    "weights": (["train", "data=digits", "model=cnn-s", "model.weights=none.pt"], "none.pt"),
    "damaged": (["train", "data=digits", "model=cnn-s", "model.weights=damaged.pt"], "damaged.pt"),
    "damaged file": (["evaluate", "data=digits", "model=damaged.safetensors"], "is damaged"),
    "out": (["train", "data=digits", "model=cnn-xs", "out=damaged.pt/run"], "cannot create"),
    "batch": (["train", "data=digits", "model=cnn-xs", "train.accumulate=7"], "not a multiple"),
    "device": (["train", "data=digits", "model=cnn-xs", "device=abacus"], "device=abacus"),
    "logger": (["train", "data=digits", "model=cnn-xs", "device=cpu", "loggers=[wand]"], "did you mean 'wandb'"),
    "augment": (["train", "data=digits", "model=cnn-xs", "data.augment=flip-flop"], "flip-flop"),
    "precision": (["train", "data=digits", "model=cnn-xs", "train.precision=fp8"], "train.precision='fp8'"),
    "evaluate": (["evaluate", "no/run"], "no/run"),
    "two runs": (["evaluate", "a", "b"], "one run"),
    "show": (["methods", "show", "kdd"], "did you mean 'kd'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(name: str) -> None:
    for file in ("damaged.pt", "damaged.safetensors"):
        Path(file).write_bytes(b"\x80\x02garbage")
    arguments, message = BAD[name]
    outcome = call(*arguments)
    assert outcome.exit_code == 2, outcome.exception
    [line] = outcome.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert "Traceback" not in outcome.output
    assert sorted(path.name for path in Path().iterdir()) == ["damaged.pt", "damaged.safetensors"]


def test_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    def full(*arguments: Any, **named: Any) -> None:
        raise OutOfMemoryError

    monkeypatch.setattr(run_settings, "resolve", full)
    outcome = call("train", "data=digits", "model=cnn-m")
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (2, 1)
    assert "lower train.batch_size" in outcome.stderr


def test_demo_table_is_what_the_runs_say(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Callable[[str], Any] = run_settings.recipe_for

    def quick(dataset: str) -> dict[str, Any]:
        found = recipe(dataset)
        return {**found, "train": {**found["train"], "epochs": 2}}

    monkeypatch.setattr(run_settings, "recipe_for", quick)
    shown = done("demo", "--seeds", "2", "--out", "demo")
    with Path("demo/demo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    results = [json.loads(path.read_text()) for path in sorted(Path("demo").glob("*/result.json"))]
    assert len(rows) == len(results) == 5
    assert sorted(float(row["test_accuracy"]) for row in rows) == sorted(r["test"]["accuracy"] for r in results)
    assert Path("demo/demo.png").stat().st_size > 1000
    assert "2 paired seeds" in shown


@pytest.mark.slow
def test_torchrun_trains_as_one_process(teacher_run: Path) -> None:
    sgd = ["train.optimizer=sgd", "train.optimizer.lr=0.05", "train.precision=fp32"]
    command = [*DISTILL, f"teacher={teacher_run}", *sgd]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together = subprocess.run(
        [*torchrun, "-m", "understudy", *command, "out=two"], capture_output=True, text=True, timeout=240
    )
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("wrote two") == 1
    done(*command, "out=one")
    assert_close(load_file("two/student.safetensors"), load_file("one/student.safetensors"), rtol=0, atol=1e-4)
    assert json.loads(Path("two/provenance.json").read_text())["machine"]["processes"] == 2
    one, two = (json.loads(Path(out, "result.json").read_text()) for out in ("one", "two"))
    assert two["teacher"]["test"]["accuracy"] == one["teacher"]["test"]["accuracy"]
    assert two["images"] == one["images"]


DRY = {
    "untrained": (["distill", "teacher=cnn-s", "student=cnn-xs"], "no better than guessing"),
    "logger": (["train", "model=cnn-xs", "loggers=[wandb]"], "pip install 'understudy[wandb]'"),
    "out": (["train", "model=cnn-xs", "out=foreign"], "is not empty and holds no run"),
    "file": (["train", "model=cnn-xs", "out=foreign/thesis.tex/run"], "is a file; choose another out=DIR"),
    "weights": (["train", "model=cnn-xs", "label.weight=0"], "there is no loss"),
}


@pytest.mark.parametrize("name", DRY)
def test_dry_run_refuses_what_the_run_would(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    Path("foreign").mkdir()
    Path("foreign/thesis.tex").write_text("x")
    (command, *chosen), message = DRY[name]
    outcome = call(command, "data=digits", *QUICK, *chosen, "--dry-run")
    assert outcome.exit_code == 2, outcome.exception
    assert message in outcome.stderr
    assert outcome.stderr == call(command, "data=digits", *QUICK, *chosen).stderr


def test_dry_run_says_what_a_cache_takes(teacher_run: Path) -> None:
    chosen = [*DISTILL, f"teacher={teacher_run}", "data.augment=shift", "data.views=2", "--dry-run"]
    # 719 images in two views: ten logits in half precision and a checksum are 24 bytes.
    assert "719 images x 2 views take 34.5 kB" in done(*chosen, "cache=on")
    assert "views take" not in done(*chosen, "cache=off")


def test_dry_run_shows_shares_and_the_layers_that_are_read(teacher_run: Path) -> None:
    chosen = ["method=[at,at-gradient,kd]", "method.at.pairs=[[layer1,layer2]]", "--dry-run"]
    shown = done(*DISTILL, f"teacher={teacher_run}", *chosen)
    assert "shares of the gradient norm: ce" in shown
    table = shown.partition("layers that the methods read")[2].partition("training")[0]
    assert re.search(r"at +│ layer1 +│ 48x8x8 +│ layer2 +│", table)
    assert "at-gradient" in table
    assert not any(Path().iterdir())


def test_the_plain_baseline_of_a_distillation(teacher_run: Path) -> None:
    done(*DISTILL, f"teacher={teacher_run}", "out=runs/kd")
    shown = done("train", "-c", "runs/kd/config.yaml", "out=runs/plain")
    assert "left out: teacher, method" in shown
    assert json.loads(Path("runs/plain/result.json").read_text())["method"] == []


def test_students_that_teach_each_other() -> None:
    command = ["mutual", "data=digits", "students=[cnn-xs,cnn-s]", *QUICK, "out=runs/dml"]
    plan = done(*command, "--dry-run")
    assert "ce x 1" in plan
    assert "dml (temperature=1.0, weight=1.0)" in plan
    assert not Path("runs").exists()
    shown = done(*command)
    result = json.loads(Path("runs/dml/result.json").read_text())
    for each in (*result["students"], {"test": {"accuracy": result["mean"]["test"]}}):
        assert f"{each['test']['accuracy']:.2%}" in shown
    best = result["students"][result["best"]["student"]]["student"]
    assert f"{best} (best)" in shown
    assert "is finished: nothing to do" in done(*command)
