import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR, StepLR

from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES, Span

EPOCHS, STEPS = 6, 5
SPAN = Span(EPOCHS, STEPS)


def rates(schedule: LRScheduler, optimizer: Optimizer, num: int = EPOCHS * STEPS) -> list[float]:
    seen: list[float] = []
    for _ in range(num):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.fixture
def optimizer() -> Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4, momentum=0.9)


def other() -> Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4, momentum=0.9)


def by_epoch(make: type[LRScheduler], **settings: object) -> list[float]:
    reference = other()
    per_epoch = rates(make(reference, **settings), reference, EPOCHS)
    return [rate for rate in per_epoch for _ in range(STEPS)]


def test_constant_keeps_the_rate(optimizer: Optimizer) -> None:
    assert rates(SCHEDULES.get("constant")(optimizer, SPAN), optimizer) == [0.4] * 30


def test_step_equals_torch(optimizer: Optimizer) -> None:
    ours = rates(SCHEDULES.get("step")(optimizer, SPAN, step_size=2, gamma=0.5), optimizer)
    assert ours == pytest.approx(by_epoch(StepLR, step_size=2, gamma=0.5), rel=1e-12)


def test_multistep_equals_torch(optimizer: Optimizer) -> None:
    ours = rates(SCHEDULES.get("multistep")(optimizer, SPAN, milestones=[1, 4], gamma=0.1), optimizer)
    assert ours == pytest.approx(by_epoch(MultiStepLR, milestones=[1, 4], gamma=0.1), rel=1e-12)


def test_cosine_equals_torch_stepped_by_step(optimizer: Optimizer) -> None:
    ours = rates(SCHEDULES.get("cosine")(optimizer, SPAN, final=0.1), optimizer)
    reference = other()
    theirs = rates(CosineAnnealingLR(reference, EPOCHS * STEPS, eta_min=0.04), reference)
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_onecycle_equals_torch(optimizer: Optimizer) -> None:
    ours = rates(SCHEDULES.get("onecycle")(optimizer, SPAN, rise=0.4), optimizer)
    reference = other()
    theirs = rates(OneCycleLR(reference, 0.4, total_steps=EPOCHS * STEPS, pct_start=0.4), reference)
    assert ours == theirs


def test_warmup_rises_linearly_and_then_follows_the_schedule(optimizer: Optimizer) -> None:
    span = SPAN._replace(warmup_epochs=1.0)
    ours = rates(SCHEDULES.get("step")(optimizer, span, step_size=2, gamma=0.5), optimizer)
    assert ours[:5] == pytest.approx([0.4 * step / 6 for step in range(1, 6)])
    assert ours[5:] == pytest.approx(by_epoch(StepLR, step_size=2, gamma=0.5)[5:])


def test_cosine_behind_a_warmup_starts_at_the_full_rate_and_ends_at_0(optimizer: Optimizer) -> None:
    schedule = SCHEDULES.get("cosine")(optimizer, SPAN._replace(warmup_epochs=2.0))
    ours = rates(schedule, optimizer)
    assert ours[10] == pytest.approx(0.4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_onecycle_refuses_a_second_warmup(optimizer: Optimizer) -> None:
    with pytest.raises(ValueError, match="onecycle warms up by itself"):
        SCHEDULES.get("onecycle")(optimizer, SPAN._replace(warmup_epochs=1.0))


def test_an_epoch_of_few_steps_is_enough(optimizer: Optimizer) -> None:
    # Three batches made an old reporter divide by zero.
    assert len(rates(SCHEDULES.get("onecycle")(optimizer, Span(1, 3)), optimizer, 3)) == 3


@pytest.mark.parametrize(
    ("name", "settings", "make"),
    [
        ("sgd", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}, torch.optim.SGD),
        ("adam", {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.01}, torch.optim.Adam),
        ("adamw", {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.2}, torch.optim.AdamW),
    ],
)
def test_optimizers_equal_torch(name: str, settings: dict[str, float], make: type[Optimizer]) -> None:
    options = {key: value for key, value in settings.items() if "beta" not in key}
    if "beta1" in settings:
        options["betas"] = (settings["beta1"], settings["beta2"])
    weights = [nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    optimizers = [OPTIMIZERS.get(name)([weights[0]], **settings), make([weights[1]], **options)]
    for _ in range(3):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(*weights)
