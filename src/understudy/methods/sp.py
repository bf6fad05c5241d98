"""Similarity-preserving knowledge distillation (Tung and Mori, ICCV 2019)."""

from torch import Tensor

from understudy.losses.relation import sp_loss
from understudy.methods.base import register
from understudy.methods.feature import Pairs
from understudy.methods.relation import RelationMethod
from understudy.methods.weighting import Weight
from understudy.types import Terms


@register("sp")
class SP(RelationMethod):
    """Match which images of the batch are similar in deep feature maps: row-normalised Gram matrices.

    The value falls as one over the batch size: the weight is for 64 images, multiply it by batch size / 64.

    Args:
        weight: Weight of the term; 3000 as in the paper and in RepDistiller, for a batch of 64.
        pairs: (student layer, teacher layer) names; the ends of the last stages by default. Pairs are summed.

    Raises:
        ValueError: The weight is negative.
    """

    where = "last"

    def __init__(self, *, weight: Weight = 3000.0, pairs: Pairs | None = None) -> None:
        super().__init__({"sp": weight}, pairs=pairs)

    def compare(self, student: Tensor, teacher: Tensor) -> Terms:
        """Term `sp`."""
        return {"sp": sp_loss(student, teacher)}
