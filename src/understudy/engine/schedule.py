"""Learning-rate schedules by name; the signature is the schema.

All are stepped after each optimizer step. The factor of a schedule multiplies the learning rate of the optimizer.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from understudy.registry import Registry


class Span(NamedTuple):
    """How long the training is.

    Attributes:
        epochs: Number of epochs.
        steps: Optimizer steps of one epoch.
        warmup_epochs: Epochs over which the learning rate rises linearly from 0.
    """

    epochs: int
    steps: int
    warmup_epochs: float = 0.0


ScheduleBuilder = Callable[..., LRScheduler]
SCHEDULES: Registry[ScheduleBuilder] = Registry("schedule", "understudy.engine")


def _by_epoch(optimizer: Optimizer, span: Span, factor: Callable[[float], float]) -> LRScheduler:
    """A schedule from a factor as a function of the epochs done, with warm-up in front."""
    warmup = round(span.warmup_epochs * span.steps)

    def at(step: int) -> float:
        return (step + 1) / (warmup + 1) if step < warmup else factor(step / span.steps)

    return LambdaLR(optimizer, at)


@SCHEDULES.register("constant")
def constant(optimizer: Optimizer, span: Span) -> LRScheduler:
    """The optimizer's learning rate throughout."""
    return _by_epoch(optimizer, span, lambda epoch: 1.0)


@SCHEDULES.register("step")
def step(
    optimizer: Optimizer, span: Span, *, step_size: PositiveInt = 30, gamma: NonNegativeFloat = 0.1
) -> LRScheduler:
    """Times `gamma` after every `step_size` epochs; the defaults are ImageNet's."""
    return _by_epoch(optimizer, span, lambda epoch: gamma ** int(epoch // step_size))


@SCHEDULES.register("multistep")
def multistep(
    optimizer: Optimizer, span: Span, *, milestones: Sequence[int] = (150, 180, 210), gamma: NonNegativeFloat = 0.1
) -> LRScheduler:
    """Times `gamma` after each of the epochs in `milestones`; the defaults are CIFAR-100's with 240 epochs."""
    return _by_epoch(optimizer, span, lambda epoch: gamma ** sum(epoch >= milestone for milestone in milestones))


@SCHEDULES.register("cosine")
def cosine(optimizer: Optimizer, span: Span, *, final: NonNegativeFloat = 0.0) -> LRScheduler:
    """Half a cosine from the learning rate (after the warm-up) to `final` times it at the end."""
    start = round(span.warmup_epochs * span.steps) / span.steps

    def factor(epoch: float) -> float:
        done = min((epoch - start) / max(span.epochs - start, 1 / span.steps), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2

    return _by_epoch(optimizer, span, factor)


@SCHEDULES.register("onecycle")
def onecycle(
    optimizer: Optimizer,
    span: Span,
    *,
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    start_factor: PositiveFloat = 25.0,
    final_factor: PositiveFloat = 1e4,
    cycle_momentum: bool = True,
) -> LRScheduler:
    """One cycle (Smith and Topin, 2018): up to the optimizer's learning rate, then down; torch's defaults.

    Args:
        optimizer: Its learning rate is the peak.
        span: How long the training is; it must not ask for another warm-up.
        rise: Share of the training until the peak.
        start_factor: The peak is this many times the start.
        final_factor: The start is this many times the end.
        cycle_momentum: Move the momentum (or first beta) from .95 to .85 and back, against the learning rate.

    Raises:
        ValueError: A warm-up is asked for, or the rise is exactly one step.
    """
    if span.warmup_epochs:
        raise ValueError("onecycle warms up by itself: set its rise, and train.warmup_epochs=0")
    total = span.epochs * span.steps
    if abs(rise * total - 1) < 1e-6:
        raise ValueError(f"rise {rise} of {total} steps are one step, which onecycle cannot do: change rise")
    return OneCycleLR(
        optimizer,
        max_lr=[float(group["lr"]) for group in optimizer.param_groups],
        total_steps=total,
        pct_start=rise,
        div_factor=start_factor,
        final_div_factor=final_factor,
        cycle_momentum=cycle_momentum,
    )
