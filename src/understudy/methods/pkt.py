"""Probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018)."""

from torch import Tensor

from understudy.losses.relation import pkt_loss
from understudy.methods.base import register
from understudy.methods.feature import Pairs
from understudy.methods.relation import RelationMethod, pooled
from understudy.methods.weighting import Weight
from understudy.types import Terms


@register("pkt")
class PKT(RelationMethod):
    """Match each image's neighbour probabilities by cosine similarity of pooled features.

    The value falls as one over the batch size: the weight is for 64 images, multiply it by batch size / 64.

    Args:
        weight: Weight of the term; 30000 as in RepDistiller, for a batch of 64.
        pairs: (student layer, teacher layer) names; what goes into the heads by default. Maps are averaged over
            their positions, pairs are summed.

    Raises:
        ValueError: The weight is negative.
    """

    where = "pooled"

    def __init__(self, *, weight: Weight = 30000.0, pairs: Pairs | None = None) -> None:
        super().__init__({"pkt": weight}, pairs=pairs)

    def compare(self, student: Tensor, teacher: Tensor) -> Terms:
        """Term `pkt`."""
        return {"pkt": pkt_loss(pooled(student), pooled(teacher))}
