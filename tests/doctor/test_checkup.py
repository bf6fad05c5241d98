"""Check-ups as a whole: they survive what cannot be made, their fixes cure, nothing is written."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from digit_cases import case_of, digits, logistic, small_student
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from understudy.cli import app
from understudy.config import parse_override
from understudy.doctor.bounded import bounded
from understudy.doctor.case import Case
from understudy.doctor.checkup import examine, examine_run
from understudy.doctor.finding import Finding, Severity, error, note, ok
from understudy.doctor.probe import PROBES
from understudy.doctor.table import diagnosis
from understudy.experiments.assemble import Given
from understudy.experiments.run import Result
from understudy.experiments.settings import resolve
from understudy.models import load_model, save_model
from understudy.record import write_json

Digits = Callable[..., Result]


def examined(*overrides: str, given: Given | None = None, images: int = 2000) -> list[Finding]:
    pairs = [parse_override(text) for text in ("data=digits", "student=cnn-xs", "device=cpu", *overrides)]
    findings = examine(resolve("distill", [], pairs), given=given, images=images)
    assert not [one for one in findings if "planted" not in one.what and one.what.startswith("the probe")], findings
    return findings


def about(findings: list[Finding], probe: str) -> list[Finding]:
    return [finding for finding in findings if finding.probe == probe]


def severity(findings: list[Finding], probe: str) -> Severity:
    return max(finding.severity for finding in about(findings, probe))


@pytest.fixture
def bare_weights(teacher_run: Path, tmp_path: Path) -> Path:
    """The teacher's weights as they come from elsewhere: without normalisation and class names."""
    path = tmp_path / "weights.safetensors"
    save_file(dict(load_model(teacher_run).network.state_dict()), path)
    return path


def test_the_fix_of_a_wrong_normalisation_cures_it(bare_weights: Path) -> None:
    wrong = ("teacher=cnn-s", f"teacher.weights={bare_weights}", "teacher.mean=[0]", "teacher.std=[0.004]")
    (found,) = about(examined(*wrong), "normalisation")
    assert found.severity is Severity.ERROR
    cured = examined(*wrong[:2], *found.fix.split(" "))
    assert severity(cured, "normalisation") is Severity.OK


def test_the_fix_of_a_wrong_class_order_cures_it(teacher_run: Path, tmp_path: Path) -> None:
    model = load_model(teacher_run)
    names = [*model.classes[1:4], model.classes[0], *model.classes[4:]]
    shutil.copytree(teacher_run, tmp_path / "run")

    # Right names in a wrong order: they pair by name, so wrong classes teach.
    model.classes = tuple(names)
    save_model(model, tmp_path / "run" / "student.safetensors")
    (found,) = about(examined(f"teacher={tmp_path / 'run'}"), "class-order")
    assert found.severity is Severity.ERROR
    cured = examined(f"teacher={tmp_path / 'run'}", found.fix)
    assert severity(cured, "class-order") is Severity.OK


def test_a_broken_student_does_not_hide_the_teacher() -> None:
    good = logistic()
    given = Given(teacher=nn.Sequential(good.network, nn.Softmax(1)), student=nn.Conv2d(3, 10, 1))
    findings = examined("teacher=object:t", "student=object:s", given=given)
    assert any("cannot take images" in one.what for one in about(findings, "setup"))
    assert any("probabilities" in one.what for one in about(findings, "logits"))
    assert severity(findings, "duplicates") is Severity.OK


def test_a_broken_teacher_does_not_hide_the_student() -> None:
    given = Given(student=nn.Sequential(small_student().network, nn.Softmax(1)))
    findings = examined("teacher=no/such/run", "student=object:s", given=given)
    assert any("no/such/run" in one.what for one in about(findings, "setup"))
    assert any("the student gives probabilities" in one.what for one in about(findings, "logits"))
    assert severity(findings, "classes") is Severity.OK


def test_missing_data_is_one_error() -> None:
    findings = examined("data=folder", "data.path=no/such/folder", "teacher=no/such/run")
    assert [one.severity for one in findings if one.severity > Severity.OK] == [Severity.ERROR]
    assert "no such folder" in findings[0].what


def test_a_method_that_does_not_fit_is_a_refusal_beside_the_rest() -> None:
    given = Given(teacher=logistic())
    findings = examined("teacher=object:t", "method=hint", "method.pairs=[[nolayer,0]]", given=given)
    assert any("nolayer" in one.what for one in about(findings, "setup"))
    assert severity(findings, "calibration") <= Severity.NOTE


def test_a_probe_that_fails_does_not_end_the_check_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(case: Case) -> Iterator[Finding]:
        yield note("before")
        raise KeyError("planted")

    get = PROBES.get
    monkeypatch.setattr(PROBES, "get", lambda name: failing if name == "classes" else get(name))
    findings = examined("teacher=object:t", given=Given(teacher=logistic()))
    assert [one.what[:12] for one in about(findings, "classes")] == ["the probe 'c", "before"]
    assert about(findings, "duplicates")


def test_the_worst_comes_first_and_every_fault_has_a_fix() -> None:
    findings = examined("teacher=object:t", "train.epochs=1", given=Given(teacher=logistic()))
    assert [one.severity for one in findings] == sorted((one.severity for one in findings), reverse=True)
    assert all(one.fix and one.evidence for one in findings if one.severity >= Severity.WARNING)


def test_methods_without_a_teacher_are_examined_too() -> None:
    findings = examined("method=tf-kd")
    assert severity(findings, "loss-terms") <= Severity.NOTE
    assert not about(findings, "normalisation")


def test_a_fitted_temperature_is_what_is_looked_at() -> None:
    sharp = nn.Sequential(logistic().network, _Scaled(20))
    given = Given(teacher=sharp)
    assert severity(examined("teacher=object:t", given=given), "calibration") is Severity.WARNING
    fitted = examined("teacher=object:t", "teacher.temperature=fit", given=given)
    assert severity(fitted, "calibration") is Severity.OK


class _Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits * self.factor


def test_an_ensemble_is_examined_member_by_member(teacher_run: Path, bare_weights: Path) -> None:
    findings = examined(f"teacher=[{teacher_run},{teacher_run / 'student.safetensors'}]")
    assert len(about(findings, "normalisation")) == 2
    assert len(about(findings, "teacher-accuracy")) == 3


def test_few_images_are_looked_at_but_every_class() -> None:
    data = digits()
    smaller, places = bounded(data, 20)
    assert len(smaller.val) == 20
    assert len(smaller.train.labels.unique()) == 10
    assert torch.equal(smaller.train.labels, data.train.labels[places["train"]])
    case = case_of(images=20)
    assert len(case.answers(case.teacher, "val").labels) == 20


def test_files_that_stand_in_two_splits_are_named(image_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(image_folder, tmp_path / "train")
    for name in ("ants", "bees", "wasps"):
        (tmp_path / "test" / name).mkdir(parents=True)
        for number in range(5):
            pixels = torch.randint(256, (20, 20 + number, 3), dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(tmp_path / "test" / name / f"{number}.png")
    clean = examined(f"data={tmp_path}", "data.size=16", "student=resnet8", "method=tf-kd")
    assert severity(clean, "duplicates") is Severity.OK
    shutil.copy(tmp_path / "train" / "ants" / "3.png", tmp_path / "test" / "ants" / "copy.png")
    (found,) = about(examined(f"data={tmp_path}", "data.size=16", "student=resnet8", "method=tf-kd"), "duplicates")
    assert found.severity is Severity.WARNING
    assert "1 of 16" in found.evidence
    assert "ants/copy.png" in found.evidence


def test_diagnosis_counts() -> None:
    assert diagnosis([error("a"), error("b"), ok("c")]) == "2 errors, 1 ok"


def test_errors_make_exit_code_1_and_nothing_is_written(
    teacher_run: Path, bare_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    before = sorted(tmp_path.rglob("*"))
    common = ["doctor", "data=digits", "student=cnn-xs", "device=cpu", "--images", "200"]
    good = CliRunner().invoke(app, [*common, f"teacher={teacher_run}"])
    assert good.exit_code == 0, good.output
    bad = CliRunner().invoke(app, [*common, "teacher=cnn-s"])
    assert bad.exit_code == 1
    assert "no better than guessing" in bad.output
    wrong = CliRunner().invoke(app, [*common, "teacher=cnn-s", "train.epoch=3"])
    assert wrong.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def finished(digits: Digits, teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    digits("distill", out, teacher=str(teacher_run), train__epochs=4)
    return out


def planted(finished: Path, tmp_path: Path, change: Callable[[dict[str, Any], list[dict[str, Any]]], object]) -> Path:
    """A copy of a run with another result or other lines in its log."""
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    result = json.loads((out / "result.json").read_text())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    change(result, [line for line in lines if line["kind"] == "epoch"])
    write_json(out / "result.json", result)
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


RUN_FAULTS = {
    "no better than guessing": lambda result, log: result["test"].update(accuracy=0.1),
    "not finite": lambda result, log: log[-1].update({"train.loss": float("nan")}),
    "did not fall": lambda result, log: log[-1].update({"train.loss": 99.0, "val.accuracy": 0.0}),
    "by heart": lambda result, log: (log[-1].update({"train.accuracy": 1.0, "val.accuracy": 0.5}), best(result, 4)),
    "not alike": lambda result, log: result["val"].update(accuracy=result["test"]["accuracy"] - 0.3),
    "still improving": lambda result, log: (log[-1].update({"val.accuracy": 0.99}), best(result, 4)),
}


def best(result: dict[str, Any], epoch: int) -> None:
    result["selected"]["epoch"] = epoch


@pytest.mark.parametrize("what", RUN_FAULTS)
def test_a_finished_run_shows_its_faults(what: str, finished: Path, tmp_path: Path) -> None:
    found = about(examine_run(planted(finished, tmp_path, RUN_FAULTS[what]), [], images=100), "trained")
    assert any(what in one.what and one.fix for one in found), found


def test_a_finished_run_is_no_refusal_and_may_be_looked_at_with_other_settings(finished: Path) -> None:
    assert severity(examine_run(finished, [], images=100), "setup") is Severity.OK
    small = examine_run(finished, [("train.batch_size", 4)], images=100)
    assert any("batches" in one.what for one in about(small, "batches"))


def test_an_impossible_setting_tried_on_a_finished_run_is_an_error(finished: Path, tmp_path: Path) -> None:
    impossible = ["doctor", str(finished), "teacher=no/such/run", "--images", "50"]
    outcome = CliRunner().invoke(app, impossible)
    assert outcome.exit_code == 1, outcome.output
    found = about(examine_run(finished, [("teacher", "no/such/run")], images=50), "setup")
    assert [(one.severity, "other settings" in one.what) for one in found] == [
        (Severity.ERROR, False),
        (Severity.NOTE, True),
    ]
    # The same of the run as it stands: it could not be made again, but it has been made.
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(re.sub(r"(teacher:\n(?:  .*\n)*?  name: ).*", r"\1no/such/run", config))
    kept = about(examine_run(moved, [], images=50), "setup")
    assert [(one.severity, "no/such/run" in one.what) for one in kept] == [(Severity.NOTE, True)]


@pytest.mark.slow
def test_the_readme_s_set_up_gives_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in (
        "train data=digits model=cnn-m out=runs/teacher device=cpu",
        "doctor data=digits teacher=runs/teacher student=cnn-xs method=kd method.temperature=4 train.epochs=30 seed=1",
    ):
        outcome = CliRunner().invoke(app, line.split())
        assert outcome.exit_code == 0, outcome.output
    assert "warning" not in outcome.output
