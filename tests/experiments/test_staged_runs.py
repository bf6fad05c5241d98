"""Runs in stages: what each stage logs, how fast earlier stages' parameters move, and resuming."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.config import parse_override
from understudy.engine.interrupt import Interrupted
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES
from understudy.engine.trainer import Trainer
from understudy.experiments.assemble import assemble
from understudy.experiments.run import Result
from understudy.experiments.settings import resolve
from understudy.experiments.training import Training
from understudy.record import RunDirectory

Digits = Callable[..., Result]
STEPS = 11


def fitnets(teacher: Path, **chosen: Any) -> dict[str, Any]:
    return {"teacher": str(teacher), "method": "fitnets", "method__hint_epochs": 1, **chosen}


def lines(out: Path, kind: str = "epoch") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timeless = [{key: value for key, value in line.items() if key != "images_per_second"} for line in found]
    return [line for line in timeless if line["kind"] == kind]


def training(tmp_path: Path, teacher: Path, *overrides: str) -> Training:
    chosen = ["data=digits", "device=cpu", "student=cnn-xs", f"teacher={teacher}", "method=fitnets", *overrides]
    settings = resolve("distill", [], [parse_override(pair) for pair in [*chosen, f"out={tmp_path}"]])
    return Training(assemble(settings), RunDirectory(tmp_path), print)


def test_the_hint_loss_on_validation_is_logged_in_each_epoch(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    result = digits("distill", tmp_path / "run", **fitnets(teacher_run, method__hint_epochs=3))
    assert (result["epochs"], result["stages"]) == (1, {"hint": 3, "train": 1})
    hint, train = ([line for line in lines(tmp_path / "run") if line["stage"] == stage] for stage in ("hint", "train"))
    costs = [line["val.fitnets_hint.raw"] for line in hint]
    assert len(costs) == 3
    assert costs[-1] < costs[0]
    assert not any("accuracy" in name for line in hint for name in line if name.startswith("val"))
    assert all("val.accuracy" in line and "val.fitnets_hint.raw" not in line for line in train)


def test_the_hint_loss_on_validation_is_that_of_the_whole_split_in_eval_mode(teacher_run: Path, tmp_path: Path) -> None:
    made = training(tmp_path, teacher_run)
    distiller, teacher = made.made.distiller, made.made.teacher
    assert teacher is not None
    distiller.begin(distiller.stages()[0])
    found = made._monitor(distiller.train())
    assert distiller.training
    batches = list(made.made.batches("val"))
    assert len(batches) > 1
    whole = batches[0]._replace(image=torch.cat([batch.image for batch in batches]), label=None)
    distiller.eval()
    assert found["fitnets_hint.raw"] == pytest.approx(distiller(whole, teacher(whole)).loss.item() / 100, rel=1e-5)
    assert found["loss"] == pytest.approx(100 * found["fitnets_hint.raw"], rel=1e-5)


def test_a_first_stage_with_labels_is_validated_by_accuracy(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    digits("distill", tmp_path / "run", **fitnets(teacher_run, method__first="labels"))
    assert ["val.accuracy" in line for line in lines(tmp_path / "run")] == [True, True]


def second_stage(made: Training) -> Trainer:
    made.prepare()
    trainers: list[Trainer] = []
    make = made._trainer

    def keep(*arguments: Any, **named: Any) -> Trainer:
        trainer = make(*arguments, **named)
        trainer.fit = lambda resume=None: {}
        trainers.append(trainer)
        return trainer

    made._trainer = keep
    made.run(None)
    return trainers[-1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
@pytest.mark.parametrize("schedule", SCHEDULES.names())
def test_what_the_first_stage_trained_has_a_learning_rate_of_its_own(
    optimizer: str, schedule: str, teacher_run: Path, tmp_path: Path
) -> None:
    chosen = [f"train.optimizer={optimizer}", f"train.schedule={schedule}", "train.epochs=2"]
    made = training(tmp_path, teacher_run, "method.pretrained_lr_scale=0.05", *chosen)
    trainer = second_stage(made)
    names = {parameter: name for name, parameter in made.made.distiller.named_parameters()}
    rest, pretrained = ({names[p] for p in group["params"]} for group in trainer.optimizer.param_groups)
    assert pretrained == {name for name in names.values() if ".layer1." in name}
    assert rest == {name for name in names.values() if ".layer2." in name or ".fc." in name}
    for _ in range(2 * STEPS - 1):
        slow, fast = trainer.schedule.get_last_lr()[::-1]
        assert slow == pytest.approx(0.05 * fast, rel=1e-6)
        trainer.optimizer.step()
        trainer.schedule.step()


def test_after_a_first_stage_of_labels_all_parameters_are_pretrained(teacher_run: Path, tmp_path: Path) -> None:
    made = training(tmp_path, teacher_run, "method.pretrained_lr_scale=0.5", "method.first=labels")
    rest, pretrained = second_stage(made).optimizer.param_groups
    assert (len(rest["params"]), len(pretrained["params"])) == (0, len(list(made.made.student.parameters())))


def test_without_a_factor_there_is_one_group(teacher_run: Path, tmp_path: Path) -> None:
    assert len(second_stage(training(tmp_path, teacher_run)).optimizer.param_groups) == 1


@pytest.mark.parametrize("step", [5, STEPS, STEPS + 1, STEPS + 7])
def test_a_run_stopped_in_either_stage_ends_as_one_that_was_not(
    step: int, digits: Digits, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = fitnets(teacher_run, method__pretrained_lr_scale=0.1, train__ema=0.9, train__log_steps=1)
    digits("distill", tmp_path / "straight", **chosen)
    real, done = Trainer._train_step, [0]

    def stopping(trainer: Trainer, *arguments: Any) -> None:
        done[0] += 1
        if done[0] == step:
            signal.raise_signal(signal.SIGINT)
        real(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stopping)
        with pytest.raises(Interrupted):
            digits("distill", tmp_path / "stopped", **chosen)
    digits("distill", tmp_path / "stopped", **chosen)
    for name in ("student.safetensors", "best.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    for kind in ("step", "epoch"):
        assert lines(tmp_path / "stopped", kind) == lines(tmp_path / "straight", kind)
