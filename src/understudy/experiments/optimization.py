"""The optimizer and the schedule of a run; the head of each early exit may have its own."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from understudy.branches import branches_of
from understudy.engine.joined import JoinedOptimizer, JoinedSchedule
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES, Span
from understudy.errors import UserError
from understudy.experiments.assembly import Assembly, as_user_error, split_name

Scales = dict[nn.Parameter, float]


class Optimization(NamedTuple):
    """What moves the parameters of a run.

    Attributes:
        optimizer: Of all trainable parameters.
        schedule: Of its learning rates, for each optimizer step.
    """

    optimizer: Optimizer
    schedule: LRScheduler


class _Part(NamedTuple):
    """Parameters with an optimizer and a schedule of their own, and the settings that these come from.

    The log calls its learning rate `rate`.
    """

    rate: str
    parameters: list[nn.Parameter]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    where: tuple[str, str]


def make_optimization(
    made: Assembly,
    num_steps: int,
    *,
    epochs: int | None = None,
    pretrained: Collection[nn.Parameter] = (),
    lr_scale: float = 1.0,
) -> Optimization:
    """A fresh optimizer of all trainable parameters, with its schedule.

    Args:
        made: What is trained.
        num_steps: Optimizer steps of an epoch.
        epochs: How long; by default as the settings say.
        pretrained: Parameters with a learning rate of their own, in a group of their own.
        lr_scale: Their learning rate is this many times that of the others.

    Raises:
        UserError: A value does not suit the optimizer or the schedule, or there is not one of something for each exit.
    """
    train = made.settings.train
    span = Span(epochs or train.epochs, num_steps, train.warmup_epochs)
    scales = _exit_rates(made)
    for parameter in pretrained:
        scales[parameter] = lr_scale * scales.get(parameter, 1.0)
    found: dict[str, Optimization] = {}
    for part in _parts(made):
        with as_user_error(part.where[0]):
            optimizer = _optimizer(part, scales)
        name, chosen = split_name(part.schedule)
        with as_user_error(part.where[1]):
            found[part.rate] = Optimization(optimizer, SCHEDULES.get(name)(optimizer, span, **chosen))
    if len(found) == 1:
        return next(iter(found.values()))
    return Optimization(
        JoinedOptimizer([each.optimizer for each in found.values()]),
        JoinedSchedule({rate: each.schedule for rate, each in found.items()}),
    )


def _optimizer(part: _Part, scales: Scales) -> Optimizer:
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in part.parameters:
        groups.setdefault(scales.get(parameter, 1.0), []).append(parameter)
    several = [{"params": group} for group in groups.values()]
    name, chosen = split_name(part.optimizer)
    optimizer = OPTIMIZERS.get(name)(several if len(groups) > 1 else part.parameters, **chosen)
    for scale, group in zip(groups, optimizer.param_groups, strict=True):
        group["lr"] = group["lr"] * scale
    return optimizer


def _parts(made: Assembly) -> list[_Part]:
    """The heads of exits with an optimizer or a schedule of their own, in front of them all the rest."""
    train, chosen = made.settings.train, made.settings.student
    trained = [parameter for parameter in made.distiller.parameters() if parameter.requires_grad]
    rest = _Part("lr", trained, train.optimizer, train.schedule, ("train.optimizer", "train.schedule"))
    keys = ("exit_optimizers", "exit_schedules")
    if all(chosen[key] is None for key in keys):
        return [rest]
    heads = _heads(made)
    optimizers, schedules = (
        _one_each(key, chosen[key], heads) or [shared] * len(heads)
        for key, shared in zip(keys, (train.optimizer, train.schedule), strict=True)
    )
    where = (f"student.{keys[0]}", f"student.{keys[1]}")
    own = {parameter for head in heads for parameter in head}
    parts = [rest._replace(parameters=[parameter for parameter in trained if parameter not in own])]
    for number, each in enumerate(zip(heads, optimizers, schedules, strict=True), start=1):
        head, optimizer, schedule = each
        own_head = [parameter for parameter in head if parameter.requires_grad]
        parts.append(_Part(f"lr.exit{number}", own_head, optimizer, schedule, where))
    # A frozen trunk leaves no rest.
    return [part for part in parts if part.parameters] or [rest]


def _exit_rates(made: Assembly) -> Scales:
    """How many times the learning rate of the rest each parameter of an exit's head has."""
    heads = _heads(made)
    rates = _one_each("exit_lr", made.settings.student["exit_lr"], heads) if heads else None
    return {parameter: rate for head, rate in zip(heads, rates or [], strict=bool(rates)) for parameter in head}


def _heads(made: Assembly) -> list[list[nn.Parameter]]:
    """The parameters of the head of each exit."""
    branches = branches_of(made.student.network)
    return [] if branches is None else [list(head.parameters()) for head in branches.heads]


def _one_each(key: str, given: Sequence[Any] | None, heads: Sequence[object]) -> Sequence[Any] | None:
    if given is not None and len(given) != len(heads):
        raise UserError(f"student.{key} has {len(given)} entries for {len(heads)} exits: give one for each")
    return given
