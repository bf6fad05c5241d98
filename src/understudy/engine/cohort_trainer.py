"""The training loop for students that teach each other: an optimizer, a schedule and a best epoch for each."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from understudy.cohort import Cohort, CohortStep
from understudy.distiller import Unit
from understudy.engine.checkpoint import State
from understudy.engine.trainer import Scores, Trainer, rank
from understudy.errors import UserError
from understudy.types import Batch

Updates = Literal["simultaneous", "alternating"]
"""When the students step.

`simultaneous`: together, after one forward and one backward pass of all.

`alternating`: in turn, as in the paper's Algorithm 1; each one's peers answer anew, as they are by then.
"""


class CohortTrainer(Trainer):
    """Trains a `Cohort`; all else is as in `Trainer`.

    Args:
        cohort: The students with their methods, on the device.
        optimizers: One for each student, of its distiller's parameters.
        schedules: One for each student.
        updates: See `Updates`.
        save_best: One for each student: keeps it when it did best on the validation split.
        rest: As `Trainer` takes it; `validate` is given a `ModuleList` of the students and names the scores of each by
            number, as in `0.accuracy`.

    Raises:
        UserError: Alternating updates are asked of several processes.
    """

    def __init__(
        self,
        cohort: Cohort,
        *,
        optimizers: Sequence[Optimizer],
        schedules: Sequence[LRScheduler],
        updates: Updates,
        save_best: Sequence[Callable[[nn.Module], None]],
        **rest: Any,
    ) -> None:
        if updates == "alternating" and rest["world"].size > 1:
            # DistributedDataParallel waits for the gradients of all students at each backward pass.
            raise UserError("mutual.updates=alternating trains in one process: set mutual.updates=simultaneous")
        self.cohort = cohort
        self.optimizers = list(optimizers)
        self.schedules = list(schedules)
        self.updates: Updates = updates
        self.save_best = list(save_best)
        super().__init__(cohort, None, optimizer=optimizers[0], schedule=schedules[0], **rest)

    def state_dict(self) -> State:
        """Everything needed to go on, as tensors and plain types."""
        own = {
            "optimizer": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedule": [schedule.state_dict() for schedule in self.schedules],
        }
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        first = {"optimizer": state["optimizer"][0], "schedule": state["schedule"][0]}
        super().load_state_dict({**state, **first})
        for key, parts in (("optimizer", self.optimizers), ("schedule", self.schedules)):
            for part, saved in zip(parts[1:], state[key][1:], strict=True):
                part.load_state_dict(saved)

    def _train_step(self, batch: Batch) -> None:
        if self.updates == "simultaneous":
            super()._train_step(batch)
            return
        turns: list[list[tuple[CohortStep, Batch]]] = []
        for number, (member, optimizer) in enumerate(zip(self.cohort.each(), self.optimizers, strict=True)):
            self.cohort.turn = number
            turns.append(cast("list[tuple[CohortStep, Batch]]", list(self._backward(batch))))
            self._step_optimizer(optimizer, member)
        self.cohort.turn = None
        for parts in zip(*turns, strict=True):
            self.meter.add(_together([step for step, _ in parts]), parts[0][1])
        self._end_step()

    def _update(self) -> None:
        for member, optimizer in zip(self.cohort.each(), self.optimizers, strict=True):
            self._step_optimizer(optimizer, member)
        self._end_step()

    def _end_step(self) -> None:
        self.scaler.update()
        for schedule in self.schedules:
            schedule.step()
        if self.average:
            self.average.update_parameters(self.cohort)

    def _rates(self) -> dict[str, float]:
        return {f"{number}.lr": float(schedule.get_last_lr()[0]) for number, schedule in enumerate(self.schedules)}

    def _keep_best(self, epoch: int, scores: Scores, candidate: Unit) -> None:
        for number, member in enumerate(cast("Cohort", candidate).each()):
            own, best = scores_of(number, scores), scores_of(number, self.best)
            if not best or rank(own) > rank(best):
                self.best.update({f"{number}.{name}": value for name, value in {**own, "epoch": float(epoch)}.items()})
                if self.world.first:
                    self.save_best[number](member.deploy())


def scores_of(number: int, scores: Scores) -> dict[str, float]:
    """The scores of one student, by their plain names."""
    prefix = f"{number}."
    return {name.removeprefix(prefix): value for name, value in scores.items() if name.startswith(prefix)}


def _together(steps: Sequence[CohortStep]) -> CohortStep:
    """The turns of one batch as one step: each student's own loss and what it said in its own turn."""
    loss = torch.stack([step.loss.detach() for step in steps]).sum()
    said = tuple(step.outputs[number] for number, step in enumerate(steps))
    terms = {name: term for step in steps for name, term in step.terms.items()}
    return CohortStep(loss, terms, said)
