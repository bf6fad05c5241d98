"""Curriculum temperature for knowledge distillation (Li, Li, Yang, Zhao, Song, Luo, Li and Yang, AAAI 2023)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.losses.checks import check_temperature
from understudy.losses.logit import kd_loss
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("ctkd")
class CTKD(LogitMethod):
    r"""Knowledge distillation at a temperature that learns to make the task harder, more and more so.

    $T = T_{min} + T_{range} \sigma(\theta)$ with one trained number $\theta$ (the paper's global version), behind a
    gradient reversal: the student lowers the loss and the temperature raises it, $\lambda$ times as strongly.
    $\lambda$ rises from 0 to 1 along half a cosine; `set_epoch` moves it, which a loop of your own has to call. The
    authors' code moves it once an epoch and starts behind the first step of it; here it moves with every step.

    $\theta$ starts at 1 as in the authors' code, so the temperature starts at 15.6. As there it is one more
    parameter of the student's optimizer, weight decay included, which pulls it towards 0: a temperature of 11. The
    gradient flows through the teacher's softened side and the squared temperature too, as in the authors' code.

    Args:
        min_temperature: Lowest temperature; 1 as in the paper.
        temperature_range: Highest minus lowest temperature; 20 as in the paper, whose code calls it `t_end`.
        curriculum_epochs: Epochs over which the reversed gradient grows to its full strength; 10 as in the paper.
        weight: Weight of the term; 0.9 beside a label loss of 0.1 as in the paper.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: A temperature or the number of epochs is not above 0, or the weight is negative.
    """

    label_weight: ClassVar[float] = 0.1
    strength: Tensor
    min_temperature: Tensor
    temperature_range: Tensor

    def __init__(
        self,
        *,
        min_temperature: float = 1.0,
        temperature_range: float = 20.0,
        curriculum_epochs: float = 10.0,
        weight: Weight = 0.9,
        logits: Logits = "raw",
    ) -> None:
        super().__init__({"ctkd": weight}, logits=logits)
        check_temperature(min_temperature)
        check_temperature(temperature_range)
        if not curriculum_epochs > 0:
            raise ValueError(f"curriculum_epochs must be above 0, got {curriculum_epochs}")
        self.curriculum_epochs = curriculum_epochs
        self.theta = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("strength", torch.tensor(0.0), persistent=False)
        self.register_buffer("min_temperature", torch.tensor(float(min_temperature)), persistent=False)
        self.register_buffer("temperature_range", torch.tensor(float(temperature_range)), persistent=False)

    def temperature(self) -> Tensor:
        """The present temperature, a 0-D tensor whose gradient is reversed on its way to `theta`."""
        theta = self.theta.detach() - self.strength * (self.theta - self.theta.detach())
        return self.min_temperature + self.temperature_range * torch.sigmoid(theta)

    def set_epoch(self, epoch: float, num_epochs: int) -> None:
        """Move the strength of the reversed gradient, and the weight if it changes."""
        super().set_epoch(epoch, num_epochs)
        done = min(max(epoch / self.curriculum_epochs, 0.0), 1.0)
        self.strength.fill_((1 - math.cos(math.pi * done)) / 2)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Term `ctkd`."""
        return {"ctkd": kd_loss(student, teacher, self.temperature())}
