"""Variational information distillation (Ahn, Hu, Damianou, Lawrence and Dai, CVPR 2019)."""

import math

import torch
from torch import Tensor, nn

from understudy.losses.spatial import pool_to_smaller
from understudy.losses.variational import MIN_VARIANCE, variance_of, vid_loss
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("vid")
class VID(FeatureMethod):
    """Predict the teacher's maps from the student's with a learned uncertainty for each channel.

    For each pair three 1x1 convolutions predict the mean, and one variance for each of the teacher's channels is
    learned with them. The larger map is averaged down to the smaller. mdistiller keeps the variances out of the
    optimizer, so that they stay at their first value; here they are parameters, as in the paper. They and the
    convolutions are optimised with the student, weight decay included, as in RepDistiller: the decay pulls each
    variance towards 0.69, where its free parameter is 0.

    Args:
        pairs: (student layer, teacher layer) names of maps; None takes the ends of the stages.
        variance: Of every channel before training; 5 as in RepDistiller.
        weight: Weight of the term, the sum over pairs; 1 in RepDistiller, whose reduction this is.

    Raises:
        ValueError: The variance is not above 1e-5, or the weight is negative.
    """

    def __init__(self, *, pairs: Pairs | None = None, variance: float = 5.0, weight: Weight = 1.0) -> None:
        super().__init__({"vid": weight}, pairs=pairs)
        if not variance > MIN_VARIANCE:
            raise ValueError(f"variance must be above {MIN_VARIANCE}, got {variance}")
        self.variance = variance

    def setup(self, facts: Facts) -> None:
        """Build the networks that predict the mean, and the variances.

        Raises:
            UserError: A layer gives no map.
        """
        shapes = self.map_shapes(facts)
        # What variance_of maps to the variance asked for: log(exp(x) - 1) without overflow.
        above = self.variance - MIN_VARIANCE
        scale = above + math.log(-math.expm1(-above))
        self.means = nn.ModuleList(_mean_network(ours[0], theirs[0]) for ours, theirs in shapes)
        self.scales = nn.ParameterList(torch.full((theirs[0],), scale) for _, theirs in shapes)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `vid`."""
        losses: list[Tensor] = []
        pairs = zip(self.paired(student, teacher), self.means, self.scales, strict=True)
        for (ours, theirs), mean, scale in pairs:
            ours, theirs = pool_to_smaller(ours, theirs)
            losses.append(vid_loss(mean(ours), theirs, variance_of(scale)))
        return {"vid": torch.stack(losses).sum()}


def _mean_network(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
    )
