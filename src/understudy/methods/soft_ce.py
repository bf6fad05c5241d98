"""Soft targets by cross-entropy (Hinton et al., 2015), which Imagewoof's CNN student was meant to learn from."""

from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.logit import soft_cross_entropy
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("soft-ce")
class SoftCE(LogitMethod):
    """Cross-entropy with the teacher's softened probabilities as targets, averaged over the batch.

    Args:
        temperature: Softens both sides; there is no factor of its square, unlike in `kd`.
        weight: Weight of the term; 0.9 beside a label loss of 0.1 balances the two as `kd` does.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: The temperature is not above 0, or the weight is negative.
    """

    label_weight: ClassVar[float] = 0.1
    temperature: Tensor

    def __init__(self, *, temperature: float = 1.0, weight: Weight = 0.9, logits: Logits = "raw") -> None:
        super().__init__({"soft_ce": weight}, logits=logits)
        check_temperature(temperature)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Term `soft_ce`."""
        return {"soft_ce": soft_cross_entropy(student, teacher, self.temperature)}
