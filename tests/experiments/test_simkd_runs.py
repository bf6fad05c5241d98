"""A student that was changed after it was built, from one run to the next."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from understudy.data import load_data
from understudy.experiments.assemble import assemble
from understudy.experiments.evaluate import evaluate_model
from understudy.experiments.run import Result
from understudy.experiments.settings import resolve
from understudy.models import create_model, load_model, save_model
from understudy.record import RunDirectory

Digits = Callable[..., Result]


@pytest.fixture(scope="module")
def simkd_run(digits: Digits, teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simkd") / "run"
    digits("distill", out, teacher=str(teacher_run), method="simkd", train__epochs=3)
    return out


def scores_of(run: Path) -> dict[str, float]:
    """With the images asked about anew, not from what the run stored."""
    found = evaluate_model(run, [("data.workers", 0), ("device", "cpu")])["splits"]["test"]["scores"]
    return {key: found[key] for key in RunDirectory(run).read_result()["test"]}


def test_a_run_of_simkd_can_be_evaluated(simkd_run: Path) -> None:
    result = RunDirectory(simkd_run).read_result()
    assert result["test"]["accuracy"] > 0.3
    assert scores_of(simkd_run) == pytest.approx(result["test"], rel=1e-6)


def test_a_student_of_simkd_is_a_model_as_any_other(simkd_run: Path) -> None:
    loaded = load_model(simkd_run)
    assert (loaded.name, len(loaded.changes)) == ("cnn-xs", 1)
    image = load_data("digits").test.pixels[:16]
    created = create_model(str(simkd_run), classes=10).eval()
    assert torch.equal(created(image), loaded(image))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.modules())


def test_a_student_of_simkd_teaches(digits: Digits, simkd_run: Path, tmp_path: Path) -> None:
    first = RunDirectory(simkd_run).read_result()
    for method in ("at", "simkd"):
        result = digits("distill", tmp_path / method, teacher=str(simkd_run), method=method)
        assert result["teacher"]["test"] == pytest.approx(first["test"], rel=1e-6)


def test_a_student_of_simkd_is_trained_on(digits: Digits, simkd_run: Path, teacher_run: Path, tmp_path: Path) -> None:
    """Its layers have changed twice then, and both changes are in the file."""
    result = digits(
        "distill", tmp_path / "run", student=str(simkd_run), teacher=str(teacher_run), method="simkd", train__epochs=1
    )
    assert len(load_model(tmp_path / "run").changes) == 2
    assert scores_of(tmp_path / "run") == pytest.approx(result["test"], rel=1e-6)


def test_changes_survive_a_size_that_is_written_down(simkd_run: Path, tmp_path: Path) -> None:
    model = load_model(simkd_run)
    model.spec = replace(model.spec, size=None)
    save_model(model, tmp_path / "m.safetensors")
    chosen = [("data", "digits"), ("student", str(tmp_path / "m.safetensors")), ("device", "cpu")]
    student = assemble(resolve("train", [], chosen)).student
    assert student.spec.size == (8, 8)
    assert student.changes == model.changes
