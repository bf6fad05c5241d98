"""`understudy exits calibrate`, `evaluate` and `export` on a small run."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result as Outcome
from typer.testing import CliRunner

from understudy.cli import app
from understudy.data import load_data
from understudy.exits import Policy, predict
from understudy.exits.cascade import cascade
from understudy.exits.thresholds import fit_thresholds
from understudy.experiments import exit_evaluation
from understudy.experiments.exit_calibration import calibrate
from understudy.experiments.exit_evaluation import evaluate_exits
from understudy.experiments.exit_run import open_run, read_policy
from understudy.experiments.exit_tables import calibration_notes
from understudy.experiments.run import Result

Digits = Callable[..., Result]


@pytest.fixture(scope="module")
def run(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("commands") / "run"
    exits = {"student__exits": ["layer1", "layer2"], "student__exit_heads": "linear"}
    digits("distill", out, student="resnet8", method="self-distillation", train__epochs=2, **exits)
    return str(out)


def call(*arguments: str) -> Outcome:
    return CliRunner().invoke(app, ["exits", *arguments], env={"COLUMNS": "160"})


def done(*arguments: str) -> str:
    outcome = call(*arguments)
    assert outcome.exit_code == 0, (outcome.stderr, outcome.exception)
    return outcome.stdout


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_calibrate_evaluate_export(run: str) -> None:
    shown = done("calibrate", run, "budget=0.7", "score=margin", "temperatures=fit")
    assert "found on 179 validation images, judged on 180 others" in shown
    assert "with 95 % confidence at most" in " ".join(shown.split())
    policy, record = read_policy(run)
    assert policy.score == "margin"
    assert policy.temperatures != (1.0, 1.0)
    assert record["found"] == {"by": "budget", "value": 0.7, "on": "val", "images": 179}
    assert record["validation"]["drop"] <= record["validation"]["drop_bound"]

    shown = done("evaluate", run)
    test = load_data("digits").test
    assert f"really skipping: {len(test)} of {len(test)} images take the exit of the table" in shown
    folder = Path(run, "exits")
    table = rows(folder / "cascade.csv")
    accepted = [int(row["accepted"]) for row in table]
    assert sum(accepted) == len(test)
    cost = json.loads(Path(run, "result.json").read_text())["cost"]
    assert (int(table[-1]["parameters"]), int(table[-1]["bytes"])) == (cost["parameters"], cost["bytes"])
    for row, later in zip(table, [*table[1:], None], strict=True):
        assert int(row["inputs"]) == int(row["accepted"]) + int(row["rejected"])
        assert int(row["rejected"]) == (0 if later is None else int(later["inputs"]))
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["test"]["accuracy"] == sum(int(row["accepted_correct"]) for row in table) / len(test)
    macs = sum(count * float(row["macs"]) for count, row in zip(accepted, table, strict=True)) / len(test)
    assert found["test"]["macs"] == pytest.approx(macs)
    assert found["runtime"]["macs"] == pytest.approx(macs)
    assert found["runtime"]["accuracy"] == pytest.approx(found["test"]["accuracy"])
    for name in ("scores", "roc", "curve"):
        assert rows(folder / f"{name}.csv")
        assert (folder / f"{name}.png").stat().st_size > 1000

    shown = done("export", run)
    assert "early_exits.py" in shown
    assert "64 take the same exit" in shown
    np.save(Path(run, "images.npy"), test.pixels[:50].numpy())
    script = [sys.executable, str(Path(run, "onnx", "early_exits.py")), str(Path(run, "images.npy"))]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = predict(open_run(run).staged, test.pixels[:50], policy)
    assert [line.split("\t")[:2] for line in printed] == [
        [str(label), f"exit {taken + 1}"]
        for label, taken in zip(expected.logits.argmax(1).tolist(), expected.exit.tolist(), strict=True)
    ]


@pytest.mark.parametrize("rule", ["gmean", "mean", "precision-recall", ["gmean", 0.4]])
def test_rules_see_one_half_and_are_judged_on_the_other(rule: Any, run: str) -> None:
    found = calibrate(run, rule=rule, score="max-probability")
    search, held_out = open_run(run).collect("val").halves()
    assert found.policy == fit_thresholds(search, rule, score="max-probability")
    assert found.held_out == cascade(held_out, found.policy)
    assert read_policy(run)[0] == found.policy


def test_given_thresholds_are_judged_on_all_validation_images(run: str) -> None:
    found = calibrate(run, thresholds=[0.4, "never"])
    assert found.policy == Policy.of("entropy", [0.4, float("-inf")])
    assert (found.found, found.held_out.total.images) == (0, len(load_data("digits").val))
    assert "as given" in done("calibrate", run, "thresholds=[0.4,never]")
    assert calibrate(run, thresholds=[0.4, 0.2], temperatures="fit").found == 179


def test_few_images_cannot_show_a_small_drop(run: str) -> None:
    found = calibrate(run)
    assert found.found_by == ("max_drop", 0.005)
    assert found.policy.closed
    assert found.held_out.total.drop == 0
    assert found.smallest_bound > 0.005
    assert "180 validation images can show a drop below" in calibration_notes(found)[0]
    assert "warning: " in done("calibrate", run)


def test_test_labels_are_not_read_by_calibration(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    collect = open_run(run).collect.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        "understudy.experiments.exit_run.ExitRun.collect",
        lambda self, split: seen.append(split) or collect(self, split),
    )
    calibrate(run, budget=0.7)
    assert seen == ["val"]


def test_what_the_run_stored_is_what_the_exits_say(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, other = open_run(run).collect("val"), open_run(run, [("data.validation", 0.3)])
    assert len(other.collect("val").labels) > len(stored.labels)
    live = open_run(run)._replace(own_data=False).collect("val")
    assert all(torch.equal(a, b) for a, b in zip(stored, live, strict=True))

    def refuse(*arguments: object) -> None:
        raise AssertionError("the exits are run again")

    monkeypatch.setattr("understudy.experiments.exit_run.collect_exits", refuse)
    calibrate(run, budget=0.7)
    with pytest.raises(AssertionError, match="run again"):
        open_run(run).collect("test")


def test_other_data(run: str, image_folder: Path) -> None:
    """Colour photographs of any size for a student of grey digits."""
    calibrate(run, thresholds=["always", 0.5])
    shown = done("evaluate", run, f"ood={image_folder}")
    table = rows(Path(run, "exits", "ood.csv"))
    images = len(load_data(image_folder).test)
    assert [int(row["ood_inputs"]) for row in table] == [images, 0, 0]
    assert f"│ {images} " in shown


def test_a_runtime_that_differs_is_told(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate(run, thresholds=[0.5, 0.5])
    monkeypatch.setattr(
        exit_evaluation, "predict", lambda staged, images, policy: predict(staged, images, policy, dial=0.0)
    )
    found = evaluate_exits(run)
    assert found.runtime.same_exit == found.test.rows[0].accepted < found.runtime.images
    assert "warning: really skipping" in done("evaluate", run)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["max_drop=0.01", "budget=0.5"], "max_drop and budget are different ways to thresholds: give one"),
        (["max_drop=2"], "max_drop=2.0 is not valid"),
        (["budget=0.001"], "budget=0.001 is out of reach"),
        (["rule=gmeen"], "did you mean 'gmean'"),
        (["thresholds=[0.5]"], "1 thresholds for 2 early exits: give one for each"),
        (["thresholds=[0.5,often]"], "thresholds"),
        (["score=entropie"], "score='entropie' is not valid"),
        (["max_drp=0.1"], "unknown key 'max_drp': did you mean 'max_drop'"),
        (["budget=60"], "budget=60.0 is not valid"),
        (["temperatures=[1.0]"], "1 temperatures for 2 early exits"),
        (["temperatures=[1.0,0.0]"], "temperatures [1.0, 0.0] are not all above 0 and finite"),
        (["max_drop"], "not of the form key=value"),
    ],
)
def test_what_does_not_fit_is_told(arguments: list[str], words: str, run: str) -> None:
    outcome = call("calibrate", run, *arguments)
    assert outcome.exit_code == 2, outcome.exception
    assert words in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_thresholds_come_first(command: str, digits: Digits, teacher_run: Path) -> None:
    outcome = call(command, str(teacher_run))
    assert outcome.exit_code == 2
    assert f"understudy exits calibrate {teacher_run}" in outcome.stderr
    assert "is not a run directory" in call(command, "no/such/run").stderr


def test_a_run_without_exits_is_told(teacher_run: Path) -> None:
    outcome = call("calibrate", str(teacher_run))
    assert outcome.exit_code == 2
    assert "has no early exits: train it with student.exits=auto" in outcome.stderr


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named(missing: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate(run, thresholds=[0.5, 0.5])
    monkeypatch.setitem(sys.modules, missing, None)
    outcome = call("export", run)
    assert outcome.exit_code == 2
    assert f"exporting needs the package {missing}: pip install 'understudy[onnx]'" in outcome.stderr


@pytest.mark.parametrize("command", ["calibrate", "evaluate", "export"])
def test_help_shows_an_example(command: str) -> None:
    assert f"understudy exits {command} runs/" in done(command, "--help")


def test_the_logits_of_the_test_split_are_in_its_order(run: str) -> None:
    calibrate(run, budget=0.7)
    found = evaluate_exits(run)
    assert torch.equal(found.logits.labels, load_data("digits").test.labels)
