"""Logit matching (Ba and Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014)."""

from typing import ClassVar

from understudy.losses.logit import logit_mse_loss
from understudy.methods.base import Method, register
from understudy.types import Batch, Outputs, Terms


@register("logit-mse")
class LogitMSE(Method):
    """Match the teacher's logits: squared difference, averaged over batch and classes.

    Args:
        weight: Weight of the term; 0.5 beside a label loss of 0.5, the mixture of the hymenoptera alpha study.

    Raises:
        ValueError: The weight is negative.
    """

    label_weight: ClassVar[float] = 0.5

    def __init__(self, *, weight: float = 0.5) -> None:
        super().__init__({"logit_mse": weight})

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `logit_mse`."""
        return {"logit_mse": logit_mse_loss(student.logits, teacher.logits)}
