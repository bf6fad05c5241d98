import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Batches, Kept, make_trainer, network, stop_at
from torch import Tensor, nn

from understudy.distiller import Distiller
from understudy.engine.interrupt import Interrupted
from understudy.engine.trainer import Trainer
from understudy.errors import UserError
from understudy.evaluation.predictions import collect_predictions

GOLDEN = Path(__file__).with_name("golden_curve.txt")


def read(metrics: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]


def same(first: Any, second: Any) -> bool:
    """Equality of nested plain values and tensors, bit for bit."""
    if isinstance(first, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def train(tmp_path: Path, **chosen: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    metrics = tmp_path / "straight.jsonl"
    trainer = make_trainer(metrics=metrics, **chosen)
    trainer.fit()
    return trainer.state_dict(), read(metrics)


def check_stops(make: Callable[..., Trainer], folder: Path, steps: Iterable[int], **chosen: Any) -> None:
    """A run that is stopped in any of these steps, and resumed, ends as one that was not."""
    straight = make(metrics=folder / "straight.jsonl", **chosen)
    best = straight.fit()
    for step in steps:
        metrics, keeper = folder / f"{step}.jsonl", Kept()
        with pytest.raises(Interrupted):
            make(metrics=metrics, keeper=keeper, loader=Batches(before=stop_at(step)), **chosen).fit()
        assert keeper.last()["step"] == step
        torch.manual_seed(12345)
        resumed = make(metrics=metrics, **chosen)
        assert resumed.fit(keeper.last()) == best
        assert same(resumed.state_dict(), straight.state_dict()), step
        assert read(metrics) == read(folder / "straight.jsonl"), step


@pytest.mark.parametrize(
    "chosen",
    [{"ema": 0.8, "clip": 0.5, "accumulate": 2}, {"precision": "bf16", "optimizer": {"name": "sgd"}}, {"log_steps": 1}],
    ids=["fp32", "bf16", "logging"],
)
def test_a_run_stopped_at_any_step_ends_as_one_that_was_not(tmp_path: Path, chosen: dict[str, Any]) -> None:
    check_stops(make_trainer, tmp_path, range(1, 11), **chosen)


def test_lines_of_steps_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    _, expected = train(tmp_path, log_steps=1)
    metrics, keeper = tmp_path / "crashed.jsonl", Kept()

    def crash(done: int) -> None:
        if done == 8:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(metrics=metrics, keeper=keeper, loader=Batches(before=crash), log_steps=1).fit()
    assert keeper.last()["step"] == 5
    assert read(metrics)[-1]["step"] == 8
    make_trainer(metrics=metrics, log_steps=1).fit(keeper.last())
    assert read(metrics) == expected


def test_loss_curve_is_the_golden_one(tmp_path: Path) -> None:
    _, metrics = train(tmp_path, log_steps=1, epochs=4, student=network(dropout=0))
    losses = [line["train.loss"] for line in metrics if line["kind"] == "step"]
    assert losses == pytest.approx([float(line) for line in GOLDEN.read_text().split()], rel=1e-4)


def test_weighted_terms_add_up_to_the_loss(tmp_path: Path) -> None:
    _, metrics = train(tmp_path, log_steps=1)
    for line in metrics:
        terms = sum(value for name, value in line.items() if name.endswith(".weighted"))
        assert terms == pytest.approx(line["train.loss"], abs=1e-6)
        assert line["train.kd.weighted"] == pytest.approx(0.5 * line["train.kd.raw"], rel=1e-6)


def test_a_loss_that_is_not_finite_stops_with_one_line() -> None:
    with pytest.raises(UserError, match=r"at step \d+: lower train.optimizer.lr") as caught:
        make_trainer(optimizer={"name": "sgd", "lr": 1e30}, schedule="constant").fit()
    assert "\n" not in str(caught.value)


def final_weights(**chosen: Any) -> dict[str, Tensor]:
    trainer = make_trainer(**chosen)
    trainer.fit()
    return trainer.distiller.deploy().state_dict()


def test_accumulated_parts_equal_one_batch() -> None:
    chosen = {"optimizer": {"name": "sgd", "lr": 0.05}}
    whole = final_weights(student=network(batchnorm=False, dropout=0), **chosen)
    parts = final_weights(student=network(batchnorm=False, dropout=0), accumulate=4, **chosen)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def step_size(**chosen: Any) -> float:
    student = network(dropout=0)
    before = torch.nn.utils.parameters_to_vector(student.parameters()).detach().clone()
    sgd = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    loader = Batches(8)
    make_trainer(student=student, loader=loader, optimizer=sgd, schedule="constant", epochs=1, **chosen).fit()
    return (torch.nn.utils.parameters_to_vector(student.parameters()) - before).norm().item()


def test_clip_limits_the_norm_of_the_gradient() -> None:
    assert step_size() > 0.02
    assert step_size(clip=0.01) == pytest.approx(0.01, rel=1e-3)


def test_average_equals_hand_computation() -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    student = network()

    def look() -> None:
        seen.append((student[0].weight.detach().clone(), student[1].running_mean.clone()))

    trainer = make_trainer(student=student, loader=Batches(before=lambda done: look()), ema=0.75, epochs=1)
    trainer.fit()
    look()
    weight, mean = seen[1]
    for done, (next_weight, next_mean) in enumerate(seen[2:], start=1):
        decay = min(0.75, (1 + done) / (10 + done))
        weight = decay * weight + (1 - decay) * next_weight
        mean = decay * mean + (1 - decay) * next_mean
    assert trainer.average is not None
    averaged = trainer.average.module.deploy()
    torch.testing.assert_close(averaged[0].weight, weight)
    # Averaged weights with the live statistics would be another, much worse network.
    torch.testing.assert_close(averaged[1].running_mean, mean)


def test_average_is_what_is_validated() -> None:
    validated: list[nn.Module] = []

    def validate(student: nn.Module) -> dict[str, float]:
        validated.append(student)
        return {"accuracy": 0.5, "nll": 1.0}

    trainer = make_trainer(ema=0.5, validate=validate)
    trainer.fit()
    assert trainer.average is not None
    assert all(student is trainer.average.module.deploy() for student in validated)


def test_the_student_is_in_training_mode_after_a_validation() -> None:
    student = network()
    flags: list[bool] = []
    loader = Batches(before=lambda done: flags.append(all(module.training for module in student.modules())))

    def validate(candidate: nn.Module) -> dict[str, float]:
        collect_predictions(candidate, Batches().batches(0))
        flags.append(all(module.training for module in student.modules()))
        return {"accuracy": 0.5, "nll": 1.0}

    make_trainer(student=student, loader=loader, validate=validate).fit()
    assert flags == [True] * 12


def test_idle_modules_are_in_eval_mode_without_their_children() -> None:
    student = network()
    flags: list[list[bool]] = []
    loader = Batches(before=lambda done: flags.append([module.training for module in student.modules()]))
    trainer = make_trainer(student=student, loader=loader)
    trainer.idle = [student, student[1]]
    trainer.fit()
    assert flags == [[module not in trainer.idle for module in student.modules()]] * 10


def test_what_a_monitor_measures_is_logged_and_selects_nothing(tmp_path: Path) -> None:
    keeper = Kept()
    seen: list[Distiller] = []
    trainer = make_trainer(metrics=tmp_path / "monitored.jsonl", keeper=keeper, ema=0.5)
    trainer.validate = None

    def monitor(distiller: Distiller) -> dict[str, float]:
        seen.append(distiller)
        return {"loss": float(len(seen))}

    trainer.monitor = monitor
    assert trainer.fit() == {}
    assert trainer.average is not None
    assert seen == [trainer.average.module] * 2
    assert [line.get("val.loss") for line in read(tmp_path / "monitored.jsonl") if line["kind"] == "epoch"] == [1, 2]
    assert keeper.num_best == 0


def test_the_most_accurate_epoch_is_kept_and_likelihood_breaks_ties() -> None:
    scores = iter([(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.85), (0.6, 0.1)])

    def validate(student: nn.Module) -> dict[str, float]:
        return dict(zip(("accuracy", "nll"), next(scores), strict=True))

    keeper = Kept()
    best = make_trainer(validate=validate, keeper=keeper, epochs=5).fit()
    assert best == {"epoch": 2, "accuracy": 0.7, "nll": 0.8}
    assert keeper.num_best == 3


def test_validation_may_be_rare_but_never_misses_the_end(tmp_path: Path) -> None:
    _, metrics = train(tmp_path, epochs=5, validate_epochs=2)
    validated = [line["epoch"] for line in metrics if "val.accuracy" in line]
    assert validated == [1, 3, 4]


def test_every_epoch_saves_a_checkpoint_and_minutes_save_more() -> None:
    keeper = Kept()
    make_trainer(keeper=keeper).fit()
    assert len(keeper.checkpoints) == 2
    keeper = Kept()
    make_trainer(keeper=keeper, save_minutes=1e-9).fit()
    assert len(keeper.checkpoints) == 10


def test_teacher_is_unchanged_bit_for_bit() -> None:
    trainer = make_trainer()
    assert trainer.teacher is not None
    before = {key: value.clone() for key, value in trainer.teacher.state_dict().items()}
    trainer.fit()
    assert same(dict(trainer.teacher.state_dict()), before)
    assert not any(part.training for part in trainer.teacher.modules())


def test_bf16_computes_the_loss_in_float32(tmp_path: Path) -> None:
    trainer = make_trainer(precision="bf16")
    seen: list[Any] = []
    trainer.distiller.register_forward_hook(lambda module, inputs, step: seen.append(step))
    trainer.fit()
    assert {step.loss.dtype for step in seen} == {torch.float32}
    assert {step.outputs.logits.dtype for step in seen} == {torch.bfloat16}
