"""A student and a teacher with three stages of maps, for methods that read several layers."""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from toys import random_batch

from understudy.distiller import Distiller, Step
from understudy.matching import match_layers
from understudy.methods.base import Method
from understudy.models.resnet_cifar import CifarResNet
from understudy.reach import training_only_reached
from understudy.teachers import Teacher
from understudy.types import Batch, Outputs

STUDENT_WIDTHS = (4, 4, 6, 8)
TEACHER_WIDTHS = (6, 6, 8, 12)


class Pair(NamedTuple):
    distiller: Distiller
    teacher: Teacher
    batch: Batch

    @property
    def targets(self) -> Outputs:
        return self.teacher(self.batch)

    @property
    def student(self) -> nn.Module:
        return self.distiller.student.model

    def step(self) -> Step:
        return self.distiller(self.batch, self.targets)

    def features(self) -> Outputs:
        """What the student says; in training mode it moves the running statistics as training does."""
        return self.distiller.student(self.batch.image)


def network(widths: tuple[int, ...] = STUDENT_WIDTHS, *, num_classes: int = 3, seed: int = 0) -> CifarResNet:
    torch.manual_seed(seed)
    return CifarResNet(8, widths, num_classes=num_classes, in_channels=1, shortcut="projection")


def staged_pair(method: Method, *, teacher: nn.Module | None = None, student: nn.Module | None = None) -> Pair:
    batch, student = random_batch(), student or network()
    model = deepcopy(teacher) or network(TEACHER_WIDTHS, seed=1)
    method.choose(match_layers(student, model, batch.image))
    source = Teacher(model, taps=method.taps().teacher)
    distiller = Distiller(student, [method])
    torch.manual_seed(2)
    distiller.setup(batch, source)
    return Pair(distiller.train(), source, batch)


def begin(pair: Pair, name: str) -> None:
    (stage,) = [stage for stage in pair.distiller.stages() if stage.name == name]
    pair.distiller.begin(stage)


def train(pair: Pair, *, steps: int, lr: float) -> list[float]:
    """A few steps as the trainer takes them, with weight decay; the loss of each."""
    losses: list[float] = []
    optimizer = torch.optim.SGD(pair.distiller.parameters(), lr=lr, momentum=0.9, weight_decay=0.01)
    with training_only_reached(pair.distiller, pair.batch, pair.targets) as idle:
        pair.distiller.train()
        for module in idle:
            module.training = False
        for _ in range(steps):
            loss = pair.step().loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def has_gradient(module: nn.Module) -> bool:
    """Whether each parameter has a gradient that is not 0 everywhere."""
    return all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in module.parameters())


def has_no_gradient(module: nn.Module) -> bool:
    return all(parameter.grad is None for parameter in module.parameters())


def total(losses: list[Tensor]) -> float:
    return torch.stack(losses).sum().item()
