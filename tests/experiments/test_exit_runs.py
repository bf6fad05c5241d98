"""Runs of students with early exits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from understudy.branches import branches_of
from understudy.data import load_data
from understudy.errors import UserError
from understudy.exits import Policy, predict, predict_all
from understudy.experiments.assemble import assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.evaluate import evaluate_model
from understudy.experiments.run import Result
from understudy.experiments.settings import resolve
from understudy.models import load_model
from understudy.record import RunDirectory, read_lines

Digits = Callable[..., Result]
SELF = {"student": "resnet8", "method": "self-distillation", "student__exits": ["layer2", "layer1"]}


@pytest.fixture(scope="module")
def exit_run(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exits") / "run"
    digits("distill", out, **SELF, train__epochs=2)
    return out


def assembled(**chosen: Any) -> Assembly:
    overrides = {"data": "digits", "student": "resnet8", "device": "cpu", "method": "self-distillation", **chosen}
    return assemble(resolve("distill", [], [(key.replace("__", "."), value) for key, value in overrides.items()]))


def test_a_run_reports_every_exit(exit_run: Path) -> None:
    result = RunDirectory(exit_run).read_result()
    each = result["exits"]["test"]
    assert len(each) == 3
    assert each[-1]["accuracy"] == result["test"]["accuracy"]
    assert all(scores["accuracy"] > 0.3 for scores in each)
    epochs = [line for line in read_lines(RunDirectory(exit_run).metrics) if line["kind"] == "epoch"]
    assert {"val.accuracy", "val.exits.accuracy", "val.exits.1", "val.exits.2"} <= epochs[-1].keys()
    found = evaluate_model(exit_run, [("data.workers", 0), ("device", "cpu")])["splits"]["test"]["scores"]
    assert {key: found[key] for key in result["test"]} == pytest.approx(result["test"], rel=1e-6)


def test_what_it_leaves_behind_leaves_early(exit_run: Path) -> None:
    model = load_model(exit_run)
    image = load_data("digits").test.pixels[:32]
    every = predict_all(model, image)
    medians = Policy.of("entropy", [0.0, 0.0]).doubts(every).median(1).values
    policy = Policy.of("entropy", medians.tolist())
    found = predict(model, image, policy)
    assert torch.equal(found.exit, policy.exit_taken(every))
    assert set(found.exit.tolist()) == {0, 1, 2}


def test_a_student_with_exits_teaches(digits: Digits, exit_run: Path, tmp_path: Path) -> None:
    result = digits("distill", tmp_path / "run", teacher=str(exit_run), method="kd")
    assert result["teacher"]["test"] == pytest.approx(RunDirectory(exit_run).read_result()["test"], rel=1e-6)
    assert "exits" not in result


def test_a_frozen_trunk_stays_bit_identical(digits: Digits, exit_run: Path, tmp_path: Path) -> None:
    """BatchNorm buffers too; the epoch is the one whose exits are best, since its own accuracy does not change."""
    settings = {"student__train": "exits", "label__weight": 0, "train__epochs": 2}
    result = digits("distill", tmp_path / "run", method="self-distillation", student=str(exit_run), **settings)
    before, after = (load_file(RunDirectory(run).student) for run in (exit_run, tmp_path / "run"))
    trunk = {name for name in before if not name.startswith("exits.")}
    assert all(torch.equal(before[name], after[name]) for name in trunk)
    assert any(not torch.equal(before[name], after[name]) for name in before.keys() - trunk)
    epochs = [line for line in read_lines(RunDirectory(tmp_path / "run").metrics) if line["kind"] == "epoch"]
    best = max(range(2), key=lambda epoch: epochs[epoch]["val.exits.accuracy"])
    assert result["selected"]["epoch"] == best + 1


def test_the_trunk_starts_as_that_of_a_plain_student() -> None:
    plain = assembled(method="label-smoothing").student.network.state_dict()
    branched = assembled(student__exits="auto").student.network.state_dict()
    assert all(torch.equal(value, branched[name]) for name, value in plain.items())


def test_each_exit_has_its_own_learning_rate() -> None:
    made = assembled(student__exits=["layer1", "layer2"], student__exit_lr=[0.5, 0.0], train__optimizer__lr=0.1)
    optimizer = made.optimizer()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.05, 0.0])
    branches = branches_of(made.student.network)
    assert branches is not None
    before = [[p.detach().clone() for p in head.parameters()] for head in branches.heads]
    made.distiller.train()
    made.distiller(made.sample()).loss.backward()
    optimizer.step()
    moved = [
        any(not torch.equal(old, new) for old, new in zip(olds, head.parameters(), strict=True))
        for olds, head in zip(before, branches.heads, strict=True)
    ]
    assert moved == [True, False]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, r"set student\.exits=auto"),
        ({"student__exit_lr": [1.0]}, r"set student\.exits=auto"),
        ({"student__exits": "layr1"}, "no layer 'layr1'"),
        ({"student__exits": 2, "student__exit_heads": "linears"}, "did you mean 'linear'"),
    ],
)
def test_wrong_settings_are_told(chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        assembled(**chosen)


def test_a_rate_for_each_exit_or_none() -> None:
    with pytest.raises(UserError, match="one factor for each of 2 exits"):
        assembled(student__exits="auto", student__exit_lr=[1.0]).optimizer()
