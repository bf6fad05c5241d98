import json
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from understudy.engine.cohort_trainer import CohortTrainer
from understudy.engine.interrupt import Interrupted
from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.cohort import run_cohort
from understudy.experiments.cohort_settings import resolve_cohort
from understudy.experiments.evaluate import evaluate_model
from understudy.experiments.run import Result, run
from understudy.experiments.settings import resolve
from understudy.models import load_model
from understudy.types import Batch

QUICK = {"data": "digits", "device": "cpu", "train.epochs": 2, "train.log_steps": 4}


def learn(out: Path, *students: str, files: list[Path] | None = None, **chosen: object) -> Result:
    named = {"students": list(students)} if students else {}
    base = {} if files else QUICK
    pairs = {**base, **named, "out": str(out), **{key.replace("__", "."): value for key, value in chosen.items()}}
    return run_cohort(resolve_cohort(files or [], list(pairs.items())), say=lambda line: None)


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in found]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "run"
    learn(out, "cnn-xs", "cnn-s", optimizers=["adamw", {"name": "sgd", "lr": 0.1}])
    return out


def test_each_student_is_evaluated_saved_and_loadable(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    assert [student["student"] for student in result["students"]] == ["cnn-xs", "cnn-s"]
    for number, place in enumerate(result["directories"]):
        own = json.loads((Path(place) / "result.json").read_text())
        assert own == result["students"][number]
        assert own["method"] == ["dml"]
        loaded = load_model(place)
        assert loaded.name == own["student"]
        saved = Predictions.load(Path(place) / "logits-test.safetensors")
        made = assemble(resolve("train", [], [("data", "digits"), ("student", place), ("device", "cpu")]))
        torch.testing.assert_close(made.predictions(loaded, "test").logits, saved.logits)
        found = evaluate_model(place, [])["splits"]["test"]["scores"]
        assert {key: found[key] for key in own["test"]} == pytest.approx(own["test"], abs=1e-9)


def test_several_students_at_once_are_not_evaluated(finished: Path) -> None:
    with pytest.raises(UserError, match=r"holds several students: name one, as in .*0-cnn-xs"):
        evaluate_model(finished)


def test_epoch_and_best_student_are_selected_on_validation(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    epochs = [line for line in lines(finished) if line["kind"] == "epoch"]
    for number, student in enumerate(result["students"]):
        own = max(epochs, key=lambda line, n=number: (line[f"val.{n}.accuracy"], -line[f"val.{n}.nll"]))
        assert student["selected"]["epoch"] == own["epoch"] + 1
        assert student["val"]["accuracy"] == own[f"val.{number}.accuracy"]
    accuracies = [student["val"]["accuracy"] for student in result["students"]]
    assert accuracies[result["best"]["student"]] == max(accuracies)
    assert result["mean"]["test"] == pytest.approx(sum(s["test"]["accuracy"] for s in result["students"]) / 2)
    assert [line["val.accuracy"] for line in epochs] == pytest.approx(
        [(line["val.0.accuracy"] + line["val.1.accuracy"]) / 2 for line in epochs]
    )


def test_a_finished_run_is_only_read_and_another_is_refused(finished: Path) -> None:
    said: list[str] = []
    result = run_cohort(resolve_cohort([finished / "config.yaml"], []), say=said.append)
    assert result == json.loads((finished / "result.json").read_text())
    assert "is finished" in said[0]
    with pytest.raises(UserError, match=r"mutual.peers was 'mean', is 'sum'.*choose another out"):
        learn(finished, files=[finished / "config.yaml"], mutual__peers="sum")


def test_saved_settings_run_again_bit_for_bit_and_another_seed_does_not(finished: Path, tmp_path: Path) -> None:
    learn(tmp_path / "again", files=[finished / "config.yaml"])
    learn(tmp_path / "other", files=[finished / "config.yaml"], seed=1)
    for place in ("0-cnn-xs", "1-cnn-s"):
        runs = (finished, tmp_path / "again", tmp_path / "other")
        first, again, other = (out / place / "student.safetensors" for out in runs)
        assert again.read_bytes() == first.read_bytes()
        assert other.read_bytes() != first.read_bytes()


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
def test_a_stopped_run_goes_on_bit_for_bit(updates: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(tmp_path / "straight", "cnn-xs", "cnn-xs", mutual__updates=updates)
    step = CohortTrainer._train_step

    def stopping(trainer: CohortTrainer, batch: Batch) -> None:
        step(trainer, batch)
        if trainer.step == 13:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(CohortTrainer, "_train_step", stopping)
        with pytest.raises(Interrupted):
            learn(tmp_path / "stopped", "cnn-xs", "cnn-xs", mutual__updates=updates)
    assert not (tmp_path / "stopped" / "result.json").exists()
    learn(tmp_path / "stopped", "cnn-xs", "cnn-xs", mutual__updates=updates)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "straight")
    for place in ("0-cnn-xs", "1-cnn-xs"):
        first, again = (tmp_path / run / place / "student.safetensors" for run in ("straight", "stopped"))
        assert again.read_bytes() == first.read_bytes()


def test_students_of_one_network_start_differently(tmp_path: Path) -> None:
    result = learn(tmp_path / "run", "cnn-xs", "cnn-xs", train__epochs=1)
    first, second = (load_file(Path(place) / "student.safetensors") for place in result["directories"])
    assert not torch.equal(first["fc.weight"], second["fc.weight"])


def test_without_weight_each_student_equals_its_plain_run_bit_for_bit(tmp_path: Path) -> None:
    learn(tmp_path / "dml", "cnn-xs", "cnn-s", method__weight=0, seed=5)
    for number, name in enumerate(("cnn-xs", "cnn-s")):
        common = {**QUICK, "out": str(tmp_path / f"plain-{number}")}
        # The first weights that the cohort gives it, and the images in the order of the cohort.
        first = assemble(resolve("train", [], list({**common, "student": name, "seed": 5 + number}.items())))
        chosen = {**common, "student": "object:given", "seed": 5}
        run(resolve("train", [], list(chosen.items())), given=Given(student=first.student), say=lambda line: None)
        places = (tmp_path / "dml" / f"{number}-{name}", tmp_path / f"plain-{number}")
        own, plain = (load_file(place / "student.safetensors") for place in places)
        assert all(torch.equal(own[key], plain[key]) for key in plain)


def test_the_first_student_without_weight_is_understudy_train(tmp_path: Path) -> None:
    learn(tmp_path / "dml", "cnn-xs", "cnn-s", mutual__weights=[0, 1], method="kd", seed=5, label__weight=1)
    run(resolve("train", [], list({**QUICK, "student": "cnn-xs", "seed": 5, "out": str(tmp_path / "plain")}.items())))
    places = (tmp_path / "dml" / "0-cnn-xs", tmp_path / "plain")
    own, plain = (load_file(place / "student.safetensors") for place in places)
    assert all(torch.equal(own[key], plain[key]) for key in plain)


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
def test_two_students_may_teach_by_their_layers(updates: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = learn(out, "cnn-s", "cnn-xs", method=["mimic", "dml"], mutual__updates=updates)
    terms = {name.removesuffix(".raw") for name in lines(out)[-1] if name.endswith(".raw")}
    assert {"train.0.dml", "train.1.dml"} < terms
    assert len(terms) >= 6
    # Adapters stay behind: the students are plain networks.
    for student, place in zip(result["students"], result["directories"], strict=True):
        assert load_model(place).name == student["student"]


def test_what_cannot_teach_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one peer, not of 2: take two students"):
        learn(tmp_path / "run", "cnn-xs", "cnn-xs", "cnn-xs", method="at", method__pairs=[["layer1", "layer1"]])
    with pytest.raises(UserError, match="every loss term of student 0 has weight 0"):
        learn(tmp_path / "run", "cnn-xs", "cnn-xs", mutual__weights=[0, 1], label__weight=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_mutual_learning_is_as_good_as_independent_and_as_steady(tmp_path: Path) -> None:
    finals: dict[float, list[float]] = {0.0: [], 1.0: []}
    changes: list[float] = []
    for seed in range(2):
        for weight, found in finals.items():
            out = tmp_path / f"{seed}-{weight}"
            chosen = {"train__epochs": 12, "train__schedule": "constant", "train__optimizer__lr": 1e-3}
            learn(out, "cnn-s", "cnn-s", method__weight=weight, seed=seed, **chosen)
            epochs = [line for line in lines(out) if line["kind"] == "epoch"]
            curves = [[line[f"val.{number}.accuracy"] for line in epochs] for number in range(2)]
            found += [curve[-1] for curve in curves]
            # The rise at the start is learning, not unsteadiness: the second half counts.
            changes += [abs(b - a) for curve in curves for a, b in pairwise(curve[6:]) if weight]
    independent, mutual = (sum(values) / len(values) for values in finals.values())
    assert mutual >= independent - 0.01
    assert sum(changes) / len(changes) < 0.03
