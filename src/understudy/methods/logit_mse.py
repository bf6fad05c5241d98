"""Logit matching (Ba and Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014)."""

from typing import ClassVar

from torch import Tensor

from understudy.losses.logit import logit_mse_loss
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("logit-mse")
class LogitMSE(LogitMethod):
    """Match the teacher's logits: squared difference, averaged over batch and classes.

    Args:
        weight: Weight of the term; 0.5 beside a label loss of 0.5, the mixture of the hymenoptera alpha study.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: The weight is negative.
    """

    label_weight: ClassVar[float] = 0.5

    def __init__(self, *, weight: Weight = 0.5, logits: Logits = "raw") -> None:
        super().__init__({"logit_mse": weight}, logits=logits)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Term `logit_mse`."""
        return {"logit_mse": logit_mse_loss(student, teacher)}
