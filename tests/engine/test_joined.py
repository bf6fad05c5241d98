"""Several optimizers as one."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Batches, make_trainer, network
from test_trainer import check_stops, read, same
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from understudy.engine.joined import JoinedOptimizer, JoinedSchedule
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES, Span
from understudy.engine.trainer import Trainer

# Which layers of `network`, and what moves them.
PARTS: tuple[tuple[slice, str, float, str], ...] = (
    (slice(0, 2), "sgd", 0.05, "cosine"),
    (slice(2, None), "adamw", 1e-2, "onecycle"),
)


def parts_of(layers: nn.Sequential, span: Span) -> tuple[list[Optimizer], list[LRScheduler]]:
    optimizers = [OPTIMIZERS.get(name)(layers[which].parameters(), lr=rate) for which, name, rate, _ in PARTS]
    schedules = [SCHEDULES.get(part[3])(made, span) for part, made in zip(PARTS, optimizers, strict=True)]
    return optimizers, schedules


def joined(schedules: list[LRScheduler]) -> JoinedSchedule:
    return JoinedSchedule(dict(zip(("lr", "lr.exit1"), schedules, strict=True)))


def joined_trainer(**chosen: Any) -> Trainer:
    layers = network()
    trainer = make_trainer(student=layers, **chosen)
    optimizers, schedules = parts_of(layers, Span(2, len(trainer.loader)))
    trainer.optimizer, trainer.schedule = JoinedOptimizer(optimizers), joined(schedules)
    return trainer


def test_each_part_moves_as_it_would_alone() -> None:
    layers = network(batchnorm=False)
    alone = deepcopy(layers)
    optimizers, schedules = parts_of(layers, Span(2, 4))
    optimizer, schedule = JoinedOptimizer(optimizers), joined(schedules)
    pairs = list(zip(*parts_of(alone, Span(2, 4)), strict=True))
    for step in range(4):
        for model in (layers, alone):
            torch.manual_seed(step)
            model(torch.rand(8, 1, 8, 8)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        for each, own in pairs:
            each.step()
            each.zero_grad()
            own.step()
        rates = [own.get_last_lr()[0] for _, own in pairs]
        assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups] == rates
        assert rates[0] != rates[1]
    assert same(dict(layers.state_dict()), dict(alone.state_dict()))
    assert not same(dict(layers.state_dict()), dict(network(batchnorm=False).state_dict()))


@pytest.mark.parametrize("chosen", [{}, {"ema": 0.8, "clip": 0.5, "accumulate": 2}, {"precision": "fp16", "clip": 0.5}])
def test_a_run_stopped_at_any_step_ends_as_one_that_was_not(tmp_path: Path, chosen: dict[str, Any]) -> None:
    check_stops(joined_trainer, tmp_path, (1, 4, 5, 9), **chosen)


def test_the_rate_of_each_part_is_logged(tmp_path: Path) -> None:
    joined_trainer(metrics=tmp_path / "metrics.jsonl", log_steps=1).fit()
    logged = [(line["lr"], line["lr.exit1"]) for line in read(tmp_path / "metrics.jsonl") if line["kind"] == "step"]
    optimizers, schedules = parts_of(network(), Span(2, len(Batches())))
    expected: list[tuple[float, ...]] = []
    for _ in logged:
        for part in (*optimizers, *schedules):
            part.step()
        expected.append(tuple(schedule.get_last_lr()[0] for schedule in schedules))
    assert logged == expected
    assert len(logged) == 2 * len(Batches())


def test_loading_does_not_part_the_groups() -> None:
    """What holds for a group of the whole, such as a rate that a schedule sets, holds for the part."""
    optimizer = JoinedOptimizer(parts_of(network(), Span(2, 4))[0])
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.125
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {0.125}


def test_a_parameter_belongs_to_one_part() -> None:
    parameters = list(network().parameters())
    with pytest.raises(ValueError, match="more than one"):
        JoinedOptimizer([OPTIMIZERS.get("sgd")(parameters), OPTIMIZERS.get("adam")(parameters[:1])])
