import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from understudy import lock
from understudy.errors import UserError
from understudy.evaluation.accuracy import scores
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assemble import assemble
from understudy.experiments.provenance import weights_hash
from understudy.experiments.run import Result, prepare, run, train
from understudy.experiments.settings import resolve
from understudy.models import create_model, load_model, save_model
from understudy.record import RunDirectory

Digits = Callable[..., Result]

FILES = {
    "config.yaml",
    "provenance.json",
    "metrics.jsonl",
    "last.pt",
    "best.safetensors",
    "student.safetensors",
    "logits-val.safetensors",
    "logits-test.safetensors",
    "result.json",
}
TAUGHT = {"teacher-logits-val.safetensors", "teacher-logits-test.safetensors"}


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def student(out: Path) -> bytes:
    return (out / "student.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(digits: Digits, teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "kd"
    digits("distill", out, teacher=str(teacher_run), train__epochs=2, train__log_steps=5)
    return out


def test_directory_holds_everything(finished: Path) -> None:
    assert set(os.listdir(finished)) == FILES | TAUGHT


def test_provenance_tells_where_the_result_comes_from(finished: Path, teacher_run: Path) -> None:
    found = json.loads((finished / "provenance.json").read_text())
    assert found["command"]
    assert "commit" in found
    assert torch.__version__.startswith(found["versions"]["torch"])
    assert found["versions"]["understudy"]
    assert len(found["data"]["fingerprint"]) == 64
    assert found["teacher"]["sha256"] == weights_hash(load_model(teacher_run))
    assert found["teacher_scores"] == json.loads((finished / "result.json").read_text())["teacher"]["val"]


def test_result_is_what_the_saved_student_and_logits_say(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    made = assemble(resolve("train", [finished / "config.yaml"], []))
    loaded = load_model(finished)
    for split in ("val", "test"):
        saved = Predictions.load(finished / f"logits-{split}.safetensors")
        assert result[split] == scores(saved)
        torch.testing.assert_close(made.predictions(loaded, split).logits, saved.logits)
        assert torch.equal(saved.labels, made.split(split).labels)
    assert result["images"] == {split: len(made.split(split)) for split in ("train", "val", "test")}


def test_metrics_hold_every_term_and_the_best_epoch_was_selected(finished: Path) -> None:
    epochs = [line for line in lines(finished) if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [0, 1]
    for line in lines(finished):
        weighted = [line[f"train.{term}.weighted"] for term in ("ce", "kd")]
        assert sum(weighted) == pytest.approx(line["train.loss"], abs=1e-6)
    result = json.loads((finished / "result.json").read_text())
    best = max(epochs, key=lambda line: (line["val.accuracy"], -line["val.nll"]))
    assert result["selected"]["epoch"] == best["epoch"] + 1
    assert result["val"]["accuracy"] == best["val.accuracy"]


def test_the_teachers_logits_are_kept_as_it_taught(finished: Path, teacher_run: Path) -> None:
    teacher = load_model(teacher_run)
    made = assemble(resolve("train", [finished / "config.yaml"], []))
    for split in ("val", "test"):
        saved = Predictions.load(finished / f"teacher-logits-{split}.safetensors")
        torch.testing.assert_close(made.predictions(teacher, split).logits, saved.logits)
        assert torch.equal(saved.labels, made.split(split).labels)


def test_a_finished_run_is_only_read(finished: Path) -> None:
    before = {name: (finished / name).stat().st_mtime_ns for name in FILES}
    said: list[str] = []
    result = run(resolve("distill", [finished / "config.yaml"], []), say=said.append)
    assert result == json.loads((finished / "result.json").read_text())
    assert "is finished: nothing to do" in said[0]
    assert {name: (finished / name).stat().st_mtime_ns for name in FILES} == before


def test_a_run_with_other_settings_is_refused(finished: Path) -> None:
    with pytest.raises(UserError, match=r"seed was 0, is 1.*choose another out"):
        run(resolve("distill", [finished / "config.yaml"], [("seed", 1)]))


def test_a_directory_of_something_else_is_left_alone(digits: Digits, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds no run"):
        digits("train", tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_saved_settings_run_again_bit_for_bit(finished: Path, tmp_path: Path) -> None:
    run(resolve("distill", [finished / "config.yaml"], [("out", str(tmp_path / "again"))]))
    assert student(tmp_path / "again") == student(finished)
    speed = {"images_per_second": None}
    assert [line | speed for line in lines(tmp_path / "again")] == [line | speed for line in lines(finished)]


def test_another_seed_is_another_run(finished: Path, tmp_path: Path) -> None:
    run(resolve("distill", [finished / "config.yaml"], [("out", str(tmp_path / "other")), ("seed", 1)]))
    assert student(tmp_path / "other") != student(finished)
    assert yaml.safe_load((tmp_path / "other" / "config.yaml").read_text())["seed"] == 1


def test_distillation_without_weight_is_plain_training(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    digits("train", tmp_path / "plain")
    nothing = {"method__weight": 0, "label__weight": 1}
    digits("distill", tmp_path / "kd", teacher=str(teacher_run), **nothing)
    assert student(tmp_path / "kd") == student(tmp_path / "plain")


def test_mixture_of_labels_and_logits(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    digits("train", tmp_path / "plain")
    last: dict[float, dict[str, Any]] = {}
    for alpha in (0, 0.5, 1):
        out = tmp_path / f"{alpha}"
        weights = {"label__weight": alpha, "method__weight": 1 - alpha}
        digits("distill", out, method="logit-mse", teacher=str(teacher_run), **weights)
        last[alpha] = lines(out)[-1]
        config = yaml.safe_load((out / "config.yaml").read_text())
        assert (config["label"]["weight"], config["method"][0]["weight"]) == (alpha, 1 - alpha)
    assert student(tmp_path / "1") == student(tmp_path / "plain")
    assert "train.ce.raw" not in last[0]
    assert last[0]["train.loss"] == last[0]["train.logit_mse.raw"]
    assert last[1]["train.loss"] == last[1]["train.ce.raw"]
    middle = (last[0.5]["train.ce.raw"] + last[0.5]["train.logit_mse.raw"]) / 2
    assert last[0.5]["train.loss"] == pytest.approx(middle, rel=1e-6)
    assert len({line["train.loss"] for line in last.values()}) == 3


def test_teacher_file_is_untouched(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    before = hashlib.sha256((teacher_run / "student.safetensors").read_bytes()).hexdigest()
    digits("distill", tmp_path / "kd", teacher=str(teacher_run))
    assert hashlib.sha256((teacher_run / "student.safetensors").read_bytes()).hexdigest() == before


def test_a_teacher_at_chance_is_refused_unless_allowed(digits: Digits, tmp_path: Path) -> None:
    untrained = create_model("cnn-s", classes=[str(digit) for digit in range(10)], channels=1)
    save_model(untrained, tmp_path / "untrained.safetensors")
    teacher = {"teacher": str(tmp_path / "untrained.safetensors")}
    with pytest.raises(UserError, match=r"no better than guessing among 10 classes.*allow_untrained"):
        digits("distill", tmp_path / "kd", **teacher)
    # The refused run has left nothing behind, so the mended one may have its name.
    assert not (tmp_path / "kd").exists()
    digits("distill", tmp_path / "kd", **teacher, teacher__allow_untrained=True)
    assert (tmp_path / "kd" / "result.json").exists()


def test_only_the_head_changes_when_only_the_head_trains(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    chosen = {"student": "cnn-s", "student__init": "teacher", "student__train": "head", "teacher": str(teacher_run)}
    digits("distill", tmp_path / "head", **chosen)
    before, after = (load_file(run / "student.safetensors") for run in (teacher_run, tmp_path / "head"))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"fc.weight", "fc.bias"}


def test_loss_falls_and_the_student_beats_chance(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    result = digits("distill", tmp_path / "kd", teacher=str(teacher_run), student="cnn-s", train__epochs=4)
    losses = [line["train.loss"] for line in lines(tmp_path / "kd") if line["kind"] == "epoch"]
    assert losses[-1] < losses[0] / 2
    assert result["test"]["accuracy"] > 0.5


def test_a_damaged_checkpoint_is_one_line(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((finished / "config.yaml").read_text())
    (tmp_path / "last.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"last\.pt.*delete it"):
        run(resolve("distill", [finished / "config.yaml"], [("out", str(tmp_path))]))


def test_photographs_of_many_sizes(image_folder: Path, digits: Digits, tmp_path: Path) -> None:
    chosen = {"data": str(image_folder), "data__size": 16, "data__validation": 0.3, "train__batch_size": 4}
    result = digits("train", tmp_path / "run", **chosen, train__epochs=3)
    assert sum(result["images"].values()) == 30
    assert result["test"]["accuracy"] > 0.5
    assert load_model(tmp_path / "run").classes == ("ants", "bees", "wasps")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_on_the_cpu(precision: str, digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    chosen = {"teacher": str(teacher_run), "student": "cnn-xs", "train__epochs": 1, "train__batch_size": 16}
    result = digits("distill", tmp_path / "kd", **chosen, train__precision=precision)
    assert result["test"]["accuracy"] > 0.3
    assert {tensor.dtype for tensor in load_file(tmp_path / "kd" / "student.safetensors").values()} == {
        torch.float32,
        torch.int64,
    }


def test_loggers_write_into_the_run_directory(digits: Digits, tmp_path: Path) -> None:
    digits("train", tmp_path / "run", loggers=["tensorboard"])
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    assert lines(tmp_path / "run")


def test_a_missing_logger_is_one_line(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install 'understudy\[wandb\]'"):
        digits("train", tmp_path / "run", loggers=["wandb"])
    assert not (tmp_path / "run").exists()


def test_a_directory_that_another_process_writes_is_left_alone(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    with RunDirectory(tmp_path / "run").locked():
        with pytest.raises(UserError, match="another process is writing"):
            digits("train", tmp_path / "run")
        assert os.listdir(tmp_path / "run") == [".lock"]
    digits("train", tmp_path / "run")
    assert set(os.listdir(tmp_path / "run")) == FILES


def test_two_processes_that_start_at_once_make_one_run(digits: Digits, tmp_path: Path) -> None:
    ready = prepare(resolve("train", [], [("data", "digits"), ("model", "cnn-xs"), ("out", str(tmp_path / "run"))]))
    assert not (tmp_path / "run").exists()
    first = run(ready.made.settings, say=lambda line: None)
    # The other one, which was ready before that, comes second.
    before = {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in FILES}
    assert train(ready, RunDirectory(tmp_path / "run"), print) == first
    assert {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in FILES} == before
