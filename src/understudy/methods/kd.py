"""Knowledge distillation (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015)."""

from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.logit import kd_loss
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("kd")
class KD(LogitMethod):
    """Match the teacher's softened class probabilities: squared temperature times KL, averaged over the batch.

    Args:
        temperature: Softens both sides; 4 as in the CIFAR-100 protocol (CRD, ICLR 2020).
        weight: Weight of the term; 0.9 beside a label loss of 0.1 in the same protocol.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: The temperature is not above 0, or the weight is negative.
    """

    label_weight: ClassVar[float] = 0.1
    temperature: Tensor

    def __init__(self, *, temperature: float = 4.0, weight: Weight = 0.9, logits: Logits = "raw") -> None:
        super().__init__({"kd": weight}, logits=logits)
        check_temperature(temperature)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Term `kd`."""
        return {"kd": kd_loss(student, teacher, self.temperature)}
