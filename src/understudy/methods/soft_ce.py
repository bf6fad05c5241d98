"""Soft targets by cross-entropy, the form that Imagewoof's CNN student was meant to learn from."""

from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.logit import soft_cross_entropy
from understudy.methods.base import Method, register
from understudy.types import Batch, Outputs, Terms


@register("soft-ce")
class SoftCE(Method):
    """Cross-entropy with the teacher's softened probabilities as targets, averaged over the batch.

    Args:
        temperature: Softens both sides; there is no factor of its square, unlike in `kd`.
        weight: Weight of the term; 0.9 beside a label loss of 0.1 balances the two as `kd` does.

    Raises:
        ValueError: The temperature is not above 0, or the weight is negative.
    """

    label_weight: ClassVar[float] = 0.1
    temperature: Tensor

    def __init__(self, *, temperature: float = 1.0, weight: float = 0.9) -> None:
        super().__init__({"soft_ce": weight})
        check_temperature(temperature)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `soft_ce`."""
        return {"soft_ce": soft_cross_entropy(student.logits, teacher.logits, self.temperature)}
