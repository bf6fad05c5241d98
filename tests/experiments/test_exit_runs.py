"""Runs of students with early exits."""

import math
import signal
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from understudy.branches import branches_of
from understudy.data import load_data
from understudy.engine.interrupt import Interrupted
from understudy.engine.joined import JoinedOptimizer, JoinedSchedule
from understudy.engine.trainer import Trainer
from understudy.errors import UserError
from understudy.exits import Policy, predict, predict_all
from understudy.experiments.assemble import assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.evaluate import evaluate_model
from understudy.experiments.optimization import make_optimization
from understudy.experiments.run import Result
from understudy.experiments.settings import resolve
from understudy.models import load_model
from understudy.record import RunDirectory, read_lines
from understudy.yaml_file import read_yaml

Digits = Callable[..., Result]
CONSTANT = {"train__optimizer__lr": 0.1, "train__schedule": "constant"}
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
    made = assembled(student__exits=["layer1", "layer2"], student__exit_lr=[0.5, 0.0], **CONSTANT)
    optimizer = make_optimization(made, 1).optimizer
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.05, 0.0])
    branches = branches_of(made.student.network)
    assert branches is not None
    before = deepcopy(branches.heads)
    one_step(made, optimizer)
    moved = [not same(head, old) for head, old in zip(branches.heads, before, strict=True)]
    assert moved == [True, False]


def test_each_exit_has_its_own_optimizer_and_schedule() -> None:
    """Every part moves, each exactly as it does where all of the network has what the part has."""
    own = {
        "exit_optimizers": [{"name": "sgd", "lr": 0.5}, {"lr": 0.25}],
        "exit_schedules": ["cosine", {"name": "step"}],
    }
    chosen = {"student__exits": ["layer1", "layer2"], **CONSTANT, "train__epochs": 4}
    made = assembled(**chosen, **{f"student__{key}": value for key, value in own.items()})
    before = {name: value.clone() for name, value in made.student.network.state_dict().items()}
    optimizer, schedule = make_optimization(made, 2)
    assert schedule.get_last_lr() == [0.1, 0.5, 0.25]
    assert [type(part) for part in cast("JoinedOptimizer", optimizer).parts] == [AdamW, SGD, AdamW]
    one_step(made, optimizer)
    schedule.step()
    lower = 0.5 * (1 + math.cos(math.pi / 8)) / 2
    assert schedule.get_last_lr() == pytest.approx([0.1, lower, 0.25])
    rates = cast("JoinedSchedule", schedule).rates()
    assert rates == pytest.approx({"lr": 0.1, "lr.exit1": lower, "lr.exit2": 0.25})
    after = made.student.network.state_dict()
    parts = {"exits.heads.0.": ("sgd", 0.5), "exits.heads.1.": ("adamw", 0.25), "": ("adamw", 0.1)}
    for prefix, alone in parts.items():
        plain = assembled(**{**chosen, "train__optimizer": alone[0], "train__optimizer__lr": alone[1]})
        one_step(plain, make_optimization(plain, 2).optimizer)
        expected = plain.student.network.state_dict()
        names = [name for name in after if name.startswith(prefix) and (prefix or not name.startswith("exits."))]
        assert all(torch.equal(after[name], expected[name]) for name in names)
        assert any(not torch.equal(after[name], before[name]) for name in names)


def test_heads_alone_train_with_their_own_optimizers() -> None:
    chosen = {"student__train": "exits", "label__weight": 0, "student__exit_optimizers": ["sgd", "adam"]}
    made = assembled(student__exits=["layer1", "layer2"], **chosen)
    optimizer, schedule = make_optimization(made, 1)
    assert [type(part) for part in cast("JoinedOptimizer", optimizer).parts] == [SGD, Adam]
    assert list(cast("JoinedSchedule", schedule).rates()) == ["lr.exit1", "lr.exit2"]


def test_a_stopped_run_with_several_optimizers_goes_on_bit_for_bit(digits: Digits, tmp_path: Path) -> None:
    chosen = {"student__exit_optimizers": ["sgd", {"lr": 0.01}], "train__epochs": 2, "train__batch_size": 256}
    digits("distill", tmp_path / "straight", **SELF, **chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_end_epoch", press_ctrl_c(Trainer._end_epoch))
        with pytest.raises(Interrupted):
            digits("distill", tmp_path / "stopped", **SELF, **chosen)
    digits("distill", tmp_path / "stopped", **SELF, **chosen)
    runs = [RunDirectory(tmp_path / name) for name in ("straight", "stopped")]
    assert runs[0].student.read_bytes() == runs[1].student.read_bytes()
    saved = read_yaml(runs[0].config)["student"]["exit_optimizers"]
    assert [(each["name"], each["lr"]) for each in saved] == [("sgd", 0.05), ("adamw", 0.01)]


def press_ctrl_c(original: Callable[..., None]) -> Callable[..., None]:
    """At the end of the first epoch."""

    def pressed(trainer: Trainer, epoch: int) -> None:
        original(trainer, epoch)
        if epoch == 0:
            signal.raise_signal(signal.SIGINT)

    return pressed


def one_step(made: Assembly, optimizer: Optimizer) -> None:
    made.distiller.train()
    made.distiller(made.sample()).loss.backward()
    optimizer.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, r"set student\.exits=auto"),
        ({"student__exit_lr": [1.0]}, r"set student\.exits=auto"),
        ({"student__exit_schedules": ["cosine"]}, r"student\.exit_schedules is for early exits"),
        ({"student__exits": 1, "student__exit_optimizers": ["sdg"]}, "did you mean 'sgd'"),
        ({"student__exits": 1, "student__exit_optimizers": [{"rate": 1}]}, r"student\.exit_optimizers\.adamw\.rate"),
        ({"student__exits": 1, "method": "label-smoothing"}, "nothing would train them"),
        ({"student__exits": "layr1"}, "no layer 'layr1'"),
        ({"student__exits": 2, "student__exit_heads": "linears"}, "did you mean 'linear'"),
    ],
)
def test_wrong_settings_are_told(chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        assembled(**chosen)


def test_a_rate_for_each_exit_or_none() -> None:
    made = assembled(student__exits="auto", student__exit_lr=[1.0])
    with pytest.raises(UserError, match=r"student\.exit_lr has 1 entries for 2 exits"):
        make_optimization(made, 1)
