"""Logit matching by absolute differences (after Ba and Caruana, NeurIPS 2014)."""

from torch import Tensor
from torch.nn.functional import l1_loss

from understudy.methods.logits import LogitMethod
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


class LogitL1(LogitMethod):
    """Match the teacher's logits: absolute difference, averaged over batch and classes.

    Args:
        weight: Weight of the term; 1 is a place to start.
    """

    def __init__(self, *, weight: Weight = 1.0) -> None:
        super().__init__({"logit_l1": weight})

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Term `logit_l1`."""
        return {"logit_l1": l1_loss(student, teacher.detach())}
