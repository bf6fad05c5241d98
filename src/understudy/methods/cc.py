"""Correlation congruence for knowledge distillation (Peng et al., ICCV 2019)."""

from torch import Tensor

from understudy.losses.relation import cc_loss
from understudy.methods.base import register
from understudy.methods.feature import Pairs
from understudy.methods.relation import RelationMethod, pooled
from understudy.methods.weighting import Weight
from understudy.types import Terms


@register("cc")
class CC(RelationMethod):
    """Match the kernel matrix of the batch's pooled features, by its Taylor series.

    There is no embedding to train: the widths of student and teacher do not matter to the matrix, and an embedding
    of the teacher could lower the loss by forgetting what the teacher knows.

    Args:
        weight: Weight of the term; 100 as in the Knowledge-Distillation-Zoo. RepDistiller's 0.02 belongs to another
            loss (see `understudy.losses.relation.cc_loss`).
        gamma: Inverse width of the kernel; 0.4 as in the paper.
        order: Order of the Taylor series; 2 as in the paper.
        pairs: (student layer, teacher layer) names; what goes into the heads by default. Maps are averaged over
            their positions, pairs are summed.

    Raises:
        ValueError: The weight is negative.
    """

    where = "pooled"

    def __init__(
        self, *, weight: Weight = 100.0, gamma: float = 0.4, order: int = 2, pairs: Pairs | None = None
    ) -> None:
        super().__init__({"cc": weight}, pairs=pairs)
        self.gamma = gamma
        self.order = order

    def compare(self, student: Tensor, teacher: Tensor) -> Terms:
        """Term `cc`."""
        return {"cc": cc_loss(pooled(student), pooled(teacher), gamma=self.gamma, order=self.order)}
