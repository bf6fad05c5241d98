"""Attention transfer on activations (Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017)."""

import torch

from understudy.losses.attention import AttentionNorm, Mapping, attention_loss
from understudy.losses.spatial import check_choice
from understudy.methods.base import register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("at")
class AttentionTransfer(FeatureMethod):
    """Match where the teacher looks at the end of each stage; any channels, and any sizes by average-pooling.

    Args:
        pairs: (student layer, teacher layer) names, summed over; None takes the ends of the stages, as the paper does.
        mapping: How the channels become one map: `sum`, `sum_p` or `max_p` of the paper.
        p: The power in `sum_p` and `max_p`; 2 as in the authors' code.
        norm: `mean` of squared differences over batch and positions as in the authors' code and RepDistiller, or the
            `paper`'s half distance, not squared, for each image.
        weight: Weight of the term; 1000 as in the authors' code and RepDistiller. It belongs to `mean` with images of
            32x32, whose value falls as the positions grow: on 8x8 digits it drowns the labels. For `paper` take about
            0.1, and let it fall when combined with KD, as the paper advises.

    Raises:
        ValueError: A setting is unknown, the power is below 1, or the weight is negative.
    """

    where = "stages"

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        mapping: Mapping = "sum_p",
        p: float = 2.0,
        norm: AttentionNorm = "mean",
        weight: Weight = 1000.0,
    ) -> None:
        super().__init__({"at": weight}, pairs=pairs)
        check_choice("mapping", mapping, ("sum", "sum_p", "max_p"))
        check_choice("norm", norm, ("mean", "paper"))
        if not p >= 1:
            raise ValueError(f"p must be 1 or more, got {p}")
        self.mapping: Mapping = mapping
        self.p = p
        self.norm: AttentionNorm = norm

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `at`."""
        losses = [
            attention_loss(ours, theirs, mapping=self.mapping, p=self.p, norm=self.norm)
            for ours, theirs in self.paired(student, teacher)
        ]
        return {"at": torch.stack(losses).sum()}
