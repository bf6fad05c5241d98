"""Inter-channel correlation for knowledge distillation, ICKD-C (Liu et al., ICCV 2021)."""

import torch
from torch import nn

from understudy.adapters import connector
from understudy.losses.relation import ickd_loss
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("ickd-c")
class ICKD(FeatureMethod):
    """Match which channels of the last feature map of an image go together: row-normalised Gram matrices.

    The student's map passes a trained 1x1 convolution with BatchNorm to the teacher's width, also where the widths
    are equal, as in the authors' code. Sizes of maps may differ.

    Args:
        weight: Weight of the term; 2.5 as in the authors' code for CIFAR-100, beside a label weight of 1.
        pairs: (student layer, teacher layer) names; the ends of the last stages by default. Pairs are summed.

    Raises:
        ValueError: The weight is negative.
    """

    where = "last"

    def __init__(self, *, weight: Weight = 2.5, pairs: Pairs | None = None) -> None:
        super().__init__({"ickd_c": weight}, pairs=pairs)
        self.adapters = nn.ModuleList()

    def setup(self, facts: Facts) -> None:
        """One adapter for each pair.

        Raises:
            ValueError: A feature is no map.
        """
        self.adapters = nn.ModuleList(
            connector(facts.student[ours], facts.teacher[theirs]) for ours, theirs in self.pairs
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `ickd_c`."""
        paired = zip(self.adapters, self.paired(student, teacher), strict=True)
        return {"ickd_c": torch.stack([ickd_loss(adapter(ours), theirs) for adapter, (ours, theirs) in paired]).sum()}
