"""Neuron selectivity transfer (Huang and Wang, Like What You Like: Knowledge Distill via NST, 2017)."""

import torch

from understudy.losses.nst import Kernel, nst_loss
from understudy.losses.spatial import check_choice
from understudy.methods.base import register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("nst")
class NST(FeatureMethod):
    """Match the distribution of the channels' maps; any channels, and any sizes by average-pooling.

    Args:
        pairs: (student layer, teacher layer) names, summed over; None takes the ends of the stages as in RepDistiller.
        kernel: `linear`, `polynomial` of degree 2, which is RepDistiller's, or `gaussian`.
        weight: Weight of the term; 50 as in RepDistiller. The paper's lambda is 50, 50 and 100 for the three kernels,
            with a factor of 1/2 that is not in the term.

    Raises:
        ValueError: The kernel is unknown, or the weight is negative.
    """

    where = "stages"

    def __init__(self, *, pairs: Pairs | None = None, kernel: Kernel = "polynomial", weight: Weight = 50.0) -> None:
        super().__init__({"nst": weight}, pairs=pairs)
        check_choice("kernel", kernel, ("linear", "polynomial", "gaussian"))
        self.kernel: Kernel = kernel

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `nst`."""
        losses = [nst_loss(ours, theirs, kernel=self.kernel) for ours, theirs in self.paired(student, teacher)]
        return {"nst": torch.stack(losses).sum()}
