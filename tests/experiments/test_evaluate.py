"""`understudy evaluate`: everything about a run from what it stored, or from models and data."""

import json
import os
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from understudy import distill
from understudy.data import load_data
from understudy.errors import UserError
from understudy.evaluation.fidelity import fidelity
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.summary import all_scores
from understudy.evaluation.temperature import fit_temperature
from understudy.experiments.evaluate import ensure_evaluation, evaluate_model, has_own_data
from understudy.experiments.evaluation_tables import NUM_CLASSES, evaluation_tables, worst_classes
from understudy.experiments.run import Result
from understudy.models import load_model
from understudy.record import RunDirectory

Digits = Callable[..., Result]
SPLITS = ("val", "test")


@pytest.fixture(scope="module")
def finished(digits: Digits, teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "kd"
    digits("distill", out, teacher=str(teacher_run), teacher__temperature="fit")
    return out


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("cost", "teacher")}


def test_a_run_is_described_from_what_it_stored(finished: Path) -> None:
    result, record = RunDirectory(finished).read_result(), evaluate_model(finished)
    assert json.loads(json.dumps(record)) == record
    assert (record["name"], record["data"], record["classes"]) == ("kd", "digits", list("0123456789"))
    student, teacher = (
        {split: Predictions.load(finished / f"{kind}logits-{split}.safetensors") for split in SPLITS}
        for kind in ("", "teacher-")
    )
    for split in SPLITS:
        found, taught = record["splits"][split], record["teacher"]["splits"][split]
        assert found["images"] == result["images"][split]
        assert found["scores"] == all_scores(student[split])
        assert found["scores"].items() >= result[split].items()
        assert found["fidelity"] == fidelity(student[split], teacher[split])._asdict()
        assert taught["scores"].items() >= result["teacher"][split].items()
        assert taught["fidelity"] is None
        # Both splits are scaled by what was fitted on the one that is not reported.
        assert found["temperature"]["value"] == fit_temperature(student["val"])
    cost = record["cost"]
    assert (cost["parameters"], cost["macs"], cost["bytes"]) == tuple(
        result["cost"][key] for key in ("parameters", "macs", "bytes")
    )
    assert cost["file_bytes"] == (finished / "student.safetensors").stat().st_size
    assert cost["peak_memory_bytes"] > cost["bytes"]
    assert [each["batch"] for each in cost["latency"]] == [1, 8, 32]
    assert record["teacher"]["cost"]["parameters"] == result["teacher"]["cost"]["parameters"]
    assert record["teacher"]["cost"]["peak_memory_bytes"] > cost["peak_memory_bytes"]


def test_asking_anew_gives_what_was_stored(finished: Path) -> None:
    stored, anew = evaluate_model(finished), evaluate_model(finished, [("data.workers", 0)])
    for split in SPLITS:
        for old, new in ((stored, anew), (stored["teacher"], anew["teacher"])):
            assert new["splits"][split]["scores"] == pytest.approx(old["splits"][split]["scores"], abs=1e-6)
        assert anew["splits"][split]["fidelity"] == pytest.approx(stored["splits"][split]["fidelity"], abs=1e-5)


def test_a_run_from_before_the_teachers_logits_gets_them(copy: Path, finished: Path) -> None:
    for split in SPLITS:
        (copy / f"teacher-logits-{split}.safetensors").unlink()
    record = evaluate_model(copy)
    assert record["splits"]["test"]["fidelity"] is not None
    for split in SPLITS:
        old, new = (Predictions.load(run / f"teacher-logits-{split}.safetensors") for run in (finished, copy))
        torch.testing.assert_close(new, old)


def test_a_teacher_that_is_gone_or_changed_is_told(copy: Path, teacher_run: Path, tmp_path: Path) -> None:
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace(str(teacher_run), str(tmp_path / "gone")))
    said: list[str] = []
    record = evaluate_model(copy, say=said.append)
    assert "cannot be built again, its cost is that of the training: " in said[0]
    assert record["splits"]["test"]["fidelity"] is not None
    assert record["teacher"]["cost"]["peak_memory_bytes"] is None
    assert "cost" in shown(record)
    (copy / "teacher-logits-test.safetensors").unlink()
    record = evaluate_model(copy, say=said.append)
    assert "cannot be built again, nothing is compared with it: " in said[1]
    assert (record["teacher"], record["splits"]["test"]["fidelity"]) == (None, None)


def test_another_teacher_under_the_same_name_is_not_taken_for_it(copy: Path) -> None:
    provenance = json.loads((copy / "provenance.json").read_text())
    provenance["teacher"]["sha256"] = "0" * 64
    (copy / "provenance.json").write_text(json.dumps(provenance))
    (copy / "teacher-logits-val.safetensors").unlink()
    said: list[str] = []
    assert evaluate_model(copy, say=said.append)["teacher"] is None
    assert "its weights have changed since the run" in said[0]


def test_plain_training_has_no_teacher(teacher_run: Path) -> None:
    record = evaluate_model(teacher_run)
    assert (record["teacher"], record["splits"]["test"]["fidelity"]) == (None, None)
    assert "student against teacher" not in shown(record)


def test_ensembles_are_one_teacher(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    digits("distill", tmp_path / "run", teacher=[str(teacher_run), str(teacher_run)])
    record = evaluate_model(tmp_path / "run")
    alone = RunDirectory(teacher_run).read_result()["cost"]["parameters"]
    assert record["teacher"]["cost"]["parameters"] == 2 * alone
    assert record["teacher"]["cost"]["file_bytes"] == 2 * (teacher_run / "student.safetensors").stat().st_size
    saved = Predictions.load(tmp_path / "run" / "teacher-logits-test.safetensors")
    single = Predictions.load(teacher_run / "logits-test.safetensors")
    torch.testing.assert_close(saved.logits, single.logits, atol=1e-4, rtol=1e-4)


def test_networks_and_data_of_a_python_session_need_not_be_there(teacher_run: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    data = load_data("digits")
    settings = {"train.epochs": 1, "device": "cpu", "cache": "off"}
    result = distill(data, load_model(teacher_run), student=network, out=tmp_path / "run", settings=settings)
    said: list[str] = []
    record = evaluate_model(tmp_path / "run", say=said.append)
    assert len(said) == 2
    assert record["splits"]["test"]["scores"].items() >= result["test"].items()
    assert record["splits"]["test"]["fidelity"] is not None
    assert record["cost"]["latency"][0]["p50_ms"] == result["cost"]["latency_ms"]
    assert record["teacher"]["cost"]["parameters"] == result["teacher"]["cost"]["parameters"]


def test_a_file_of_weights(teacher_run: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": load_model(teacher_run).network.state_dict()}, tmp_path / "weights.pt")
    overrides = [("data", "digits"), ("model", "cnn-s"), ("model.weights", str(tmp_path / "weights.pt"))]
    record = evaluate_model(None, overrides)
    result = RunDirectory(teacher_run).read_result()
    scores = record["splits"]["test"]["scores"]
    assert {key: scores[key] for key in result["test"]} == pytest.approx(result["test"], abs=1e-6)
    assert record["cost"]["file_bytes"] is None
    saved = evaluate_model(None, [("data", "digits"), ("model", str(teacher_run))])
    assert saved["cost"]["file_bytes"] == (teacher_run / "student.safetensors").stat().st_size
    with pytest.raises(UserError, match="'cnn-s' is untrained"):
        evaluate_model(None, overrides[:2])


def test_other_data_are_asked_about_and_own_data_are_known() -> None:
    assert has_own_data([])
    assert has_own_data([("device", "cpu")])
    assert not has_own_data([("data", "digits")])
    assert not has_own_data([("device", "cpu"), ("data.validation", 0.5)])


def test_the_evaluation_is_made_once_and_again_for_a_new_result(copy: Path) -> None:
    path = copy / "evaluation.json"
    first = ensure_evaluation(copy)
    assert json.loads(path.read_text()) == first
    path.write_text(json.dumps({**first, "name": "kept"}))
    assert ensure_evaluation(copy)["name"] == "kept"
    later = path.stat().st_mtime + 10
    os.utime(copy / "result.json", (later, later))
    again = ensure_evaluation(copy)
    assert again["name"] == "copy"
    assert without_times(again) == without_times(first)


def test_an_unfinished_run_is_told(copy: Path) -> None:
    (copy / "result.json").unlink()
    with pytest.raises(UserError, match="is not finished"):
        ensure_evaluation(copy)


def shown(record: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(*evaluation_tables(record))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_tables_show_the_numbers(finished: Path) -> None:
    record = evaluate_model(finished)
    text = shown(record)
    test = record["splits"]["test"]
    low, high = test["intervals"]["accuracy"]
    assert f"{test['scores']['accuracy']:.2%} [{low:.2%}, {high:.2%}]" in text
    assert f"student, T={test['temperature']['value']:.3f}" in text
    assert f"{test['ece_floor']['mean']:.4f} [" in text
    assert f"{test['fidelity']['kl']:.4f}" in text
    for part in ("teacher, validation", "class-wise", "logit gap, centred", "class on test", "ms, batch 32"):
        assert part in text


def test_of_many_classes_the_worst_are_shown(finished: Path) -> None:
    record = evaluate_model(finished)
    row = {"images": 1, "accuracy": 0.5, "precision": None}
    rows = [{**row, "class": f"c{n}", "accuracy": n / 30} for n in range(30)] + [{**row, "class": "none", "images": 0}]
    assert [found["class"] for found in worst_classes(rows[::-1], NUM_CLASSES)] == [f"c{n}" for n in range(NUM_CLASSES)]
    assert worst_classes(rows, 31) == rows
    record["splits"]["test"]["per_class"] = rows
    assert "the 10 least accurate of 31 classes" in shown(record)
