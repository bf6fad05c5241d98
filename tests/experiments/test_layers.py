import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from typer.testing import CliRunner

from understudy.cli import app
from understudy.errors import UserError
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.layers import choose_layers
from understudy.experiments.run import Result, run
from understudy.experiments.settings import resolve
from understudy.methods.base import METHODS
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.models import create_model
from understudy.teachers import Ensemble
from understudy.types import Batch, Outputs, Terms


class Means(FeatureMethod):
    """Match the mean of each pair of features."""

    def __init__(self, *, weight: Weight = 1.0, pairs: Pairs | None = None) -> None:
        super().__init__({"means": weight}, pairs=pairs)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        distances = [(ours.mean() - theirs.mean()).square() for ours, theirs in self.paired(student, teacher)]
        return {"means": torch.stack(distances).sum()}


@pytest.fixture(autouse=True)
def _means(monkeypatch: pytest.MonkeyPatch) -> None:
    METHODS.names()
    monkeypatch.setitem(METHODS._entries, "means", Means)
    monkeypatch.setenv("COLUMNS", "160")


def assembled(teacher: Path, *overrides: tuple[str, Any], given: Given | None = None) -> Assembly:
    chosen = {"data": "digits", "student": "cnn-xs", "device": "cpu", "teacher": str(teacher), "method": "means"}
    return assemble(resolve("distill", [], [*{**chosen, **dict(overrides)}.items()]), given=given)


def pairs_of(made: Assembly) -> tuple[tuple[str, str], ...]:
    [method] = made.distiller.methods
    assert isinstance(method, FeatureMethod)
    return method.pairs


def test_layers_are_paired_unless_they_are_named(teacher_run: Path) -> None:
    made = assembled(teacher_run)
    assert pairs_of(made) == (("layer1", "layer1"), ("layer2", "layer2"))
    assert "Means reads layer1, layer2 of the student and layer1, layer2 of the teacher" in made.notes
    named = assembled(teacher_run, ("method.pairs", [["layer2", "layer1"]]))
    assert pairs_of(named) == (("layer2", "layer1"),)
    assert not any("reads" in note for note in named.notes)


@pytest.mark.parametrize("key", ["method.pairs", "method.means.pairs"])
def test_pairs_on_the_command_line(teacher_run: Path, key: str, tmp_path: Path) -> None:
    arguments = ["data=digits", "student=cnn-xs", f"teacher={teacher_run}", "method=[means,kd]", "device=cpu"]
    arguments[3] = "method=means" if key == "method.pairs" else arguments[3]
    pairs = f"{key}=[[layer1,layer1],[layer2,'fc:input']]"
    outcome = CliRunner().invoke(app, ["distill", *arguments, pairs, "train.epochs=1", f"out={tmp_path}/run"])
    assert outcome.exit_code == 0, outcome.output
    found = (tmp_path / "run" / "config.yaml").read_text()
    saved = resolve("distill", [tmp_path / "run" / "config.yaml"], [])
    assert saved.method[0]["pairs"] == [["layer1", "layer1"], ["layer2", "fc:input"]], found


def test_pairs_of_a_wrong_form_are_one_line(teacher_run: Path) -> None:
    with pytest.raises(UserError, match=r"method\.means\.pairs") as caught:
        assembled(teacher_run, ("method.pairs", [["layer1", "layer1", "layer2"]]))
    assert "\n" not in str(caught.value)


def test_no_forward_pass_without_a_method_that_asks(teacher_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("understudy.experiments.layers.match_layers", refuse)
    assembled(teacher_run, ("method", "kd"))
    assembled(teacher_run, ("method.pairs", [["layer1", "layer1"]]))
    with pytest.raises(AssertionError):
        assembled(teacher_run)


def test_student_without_maps_is_one_line(teacher_run: Path) -> None:
    flat = Given(student=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(UserError, match="Means reads 'stages', of which one of the networks has none") as caught:
        assembled(teacher_run, ("student", "object:s"), given=flat)
    assert "\n" not in str(caught.value)


def test_pairing_leaves_the_first_weights_to_the_seed(teacher_run: Path) -> None:
    plain, paired = assembled(teacher_run, ("method", "kd")), assembled(teacher_run)
    ours, theirs = plain.student.state_dict(), paired.student.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_ensemble_is_paired_by_its_first_member() -> None:
    student, *members = (create_model(name, classes=3, channels=1) for name in ("cnn-xs", "cnn-s", "cnn-m"))
    method = Means()
    choose_layers([method], student, Ensemble(members), torch.zeros(2, 1, 8, 8))
    prefix = "members.0.network"
    assert method.pairs == (("layer1", f"{prefix}.layer1"), ("layer2", f"{prefix}.layer2"))


def test_match_command_shows_layers_in_full() -> None:
    command = ["match", "--teacher", "torchvision:vit_b_32", "--student", "torchvision:mobilenet_v3_small"]
    outcome = CliRunner().invoke(app, command, env={"COLUMNS": "120"})
    assert outcome.exit_code == 0, outcome.output
    for part in ("features.12", "encoder.layers.encoder_layer_11", "heads.head:input", "768x7x7", "Conv2d 1x1"):
        assert part in outcome.output
    assert "…" not in outcome.output


def test_match_command_reads_runs(teacher_run: Path) -> None:
    options = ["--student", "cnn-xs", "--channels", "1", "--size", "16"]
    outcome = CliRunner().invoke(app, ["match", "--teacher", str(teacher_run), *options])
    assert outcome.exit_code == 0, outcome.output
    # The run keeps the size it was trained at.
    assert "48x16x16" in outcome.output
    assert "64x8x8" in outcome.output


def test_match_command_reports_a_wrong_name() -> None:
    outcome = CliRunner().invoke(app, ["match", "--teacher", "resnet57", "--student", "resnet20"])
    assert outcome.exit_code == 2
    assert "did you mean 'resnet5" in outcome.stderr


def shares_of(teacher: Path, out: Path, **chosen: object) -> tuple[list[str], dict[str, dict[str, float]]]:
    said: list[str] = []
    settings = {"data": "digits", "student": "cnn-xs", "device": "cpu", "teacher": str(teacher), "train.epochs": 1}
    overrides = {**settings, "out": str(out), **{key.replace("__", "."): value for key, value in chosen.items()}}
    run(resolve("distill", [], list(overrides.items())), say=said.append)
    return said, json.loads((out / "provenance.json").read_text())["gradient_shares"]


def test_shares_of_the_gradient_are_said_and_kept(teacher_run: Path, tmp_path: Path) -> None:
    said, shares = shares_of(teacher_run, tmp_path / "run")
    assert shares.keys() == {"train"}
    assert shares["train"].keys() == {"ce", "kd"}
    assert sum(shares["train"].values()) == pytest.approx(1)
    [line] = [line for line in said if "gradient norm" in line]
    assert line == f"shares of the gradient norm: ce {shares['train']['ce']:.1%}, kd {shares['train']['kd']:.1%}"


def test_a_share_that_does_not_count_is_warned_about(teacher_run: Path, tmp_path: Path) -> None:
    said, shares = shares_of(teacher_run, tmp_path / "run", method__weight=1e-5)
    assert 0 < shares["train"]["kd"] < 0.01
    warnings = [line for line in said if line.startswith("warning: the term")]
    assert [line.split(" with")[0] for line in warnings] == [
        "warning: the term ce drowns all others",
        "warning: the term kd hardly counts",
    ]


def test_a_term_without_weight_is_not_warned_about(teacher_run: Path, tmp_path: Path) -> None:
    said, shares = shares_of(teacher_run, tmp_path / "run", label__weight=0)
    assert shares["train"] == {"kd": 1.0}
    warm_up = {"start": 0, "end": 1, "to_epoch": 1}
    more, warming = shares_of(teacher_run, tmp_path / "warming", method__weight=warm_up)
    assert warming["train"] == {"ce": 1.0, "kd": 0.0}
    assert not any("gradient norm" in line for line in said + more)


def test_a_run_with_paired_layers_trains(teacher_run: Path, tmp_path: Path, digits: Callable[..., Result]) -> None:
    result = digits("distill", tmp_path / "run", teacher=str(teacher_run), method="means")
    assert result["method"] == ["means"]
    assert any("Means reads" in note for note in json.loads((tmp_path / "run/provenance.json").read_text())["notes"])


class FunctionalBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return relu(self.conv(features) + features)


def test_a_missing_preactivation_is_said() -> None:
    image = torch.zeros(2, 3, 32, 32)
    student = nn.Sequential(FunctionalBlock(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    teacher = create_model("torchvision:resnet18", classes=3)
    notes = choose_layers([METHODS.get("ab")()], student, teacher, image)
    late = "warning: AB wants pre-activations, and gets what comes after them: 0 and "
    assert any(note.startswith(late) for note in notes)
    notes = choose_layers([METHODS.get("ab")()], create_model("resnet8", classes=3), teacher, image)
    assert not any(note.startswith("warning: ") for note in notes)


def test_margins_are_among_the_notes(teacher_run: Path) -> None:
    notes = assembled(teacher_run, ("method", "ofd")).notes
    assert any("margins of the teacher's layers: layer1.bn" in note for note in notes)
