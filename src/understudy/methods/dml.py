"""Deep mutual learning (Zhang, Xiang, Hospedales and Lu, Deep Mutual Learning, CVPR 2018)."""

from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.logit import kd_loss
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("dml")
class DML(LogitMethod):
    """Match a peer's class probabilities: KL divergence from the peer, beside the whole label loss.

    `understudy mutual` trains students that are each other's peers and says how several peers count. With a frozen
    teacher, `understudy distill method=dml` and `understudy chain`, it is knowledge distillation without softening, as
    born-again networks use it.

    Args:
        temperature: Softens both sides; then the term is multiplied by its square. 1 as in the paper.
        weight: Weight of the term; 1 beside a label loss of 1 in the paper.

    Raises:
        ValueError: The temperature is not above 0, or the weight is negative.
    """

    label_weight: ClassVar[float] = 1.0
    temperature: Tensor

    def __init__(self, *, temperature: float = 1.0, weight: Weight = 1.0) -> None:
        super().__init__({"dml": weight})
        check_temperature(temperature)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Term `dml`."""
        return {"dml": kd_loss(student, teacher, self.temperature)}
