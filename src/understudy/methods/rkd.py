"""Relational knowledge distillation (Park, Kim, Lu and Cho, CVPR 2019)."""

from torch import Tensor

from understudy.losses.rkd import rkd_angle_loss, rkd_distance_loss
from understudy.methods.base import register
from understudy.methods.feature import Pairs
from understudy.methods.relation import RelationMethod, pooled
from understudy.methods.weighting import Weight
from understudy.types import Terms


@register("rkd")
class RKD(RelationMethod):
    """Match distances between two and angles among three images of the batch, in pooled features.

    Args:
        distance_weight: Weight of the distances; 25 as in the authors' code and in RepDistiller.
        angle_weight: Weight of the angles; 50 likewise.
        pairs: (student layer, teacher layer) names; what goes into the heads by default. Maps are averaged over
            their positions, pairs are summed.

    Raises:
        ValueError: A weight is negative.
    """

    where = "pooled"

    def __init__(
        self, *, distance_weight: Weight = 25.0, angle_weight: Weight = 50.0, pairs: Pairs | None = None
    ) -> None:
        super().__init__({"rkd_distance": distance_weight, "rkd_angle": angle_weight}, pairs=pairs)

    def compare(self, student: Tensor, teacher: Tensor) -> Terms:
        """Terms `rkd_distance` and `rkd_angle`."""
        ours, theirs = pooled(student), pooled(teacher)
        return {"rkd_distance": rkd_distance_loss(ours, theirs), "rkd_angle": rkd_angle_loss(ours, theirs)}
