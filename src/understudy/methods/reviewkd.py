"""Distilling Knowledge via Knowledge Review (Chen, Liu, Zhao and Jia, CVPR 2021)."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from understudy.adapters import Shape
from understudy.losses.pyramid import pyramid_loss
from understudy.matching import Match, Pair
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs, Where
from understudy.methods.weighting import Ramp, Weight
from understudy.types import Batch, Outputs, Terms

# The authors' warm-up: a twentieth in the first epoch, a twentieth more in each. In a short training it would be most.
WARM_UP = Ramp(0.25, 5.0, to_epoch=19, max_share=0.2)
MAX_WIDTH = 512


@register("reviewkd")
class ReviewKD(FeatureMethod):
    """Let each level of the student learn from its own and all shallower levels of the teacher.

    From the deepest level up, the student's map is fused by attention with what came from below, brought to the
    teacher's shape and compared there on a pyramid of sizes. Vectors count as maps of one position.

    Args:
        pairs: (student layer, teacher layer) names from shallow to deep; None takes the ends of the stages before
            their activation, in pre-activation networks the BatchNorm behind them, and what goes into the heads.
        weight: Weight of the term, the sum over levels; rising to 5 over 20 epochs as the authors use for ResNet32x4
            to ResNet8x4 and wide ResNets, in a training of less than 95 epochs over its first fifth; in their other
            runs it ends at 0.6 (ResNet56 to 20), 1 (ResNet110 to 32, ResNet34 to 18 on ImageNet) or 8 (ShuffleNetV2).
            A number is a weight without warm-up.

    Raises:
        ValueError: A weight is negative.
    """

    where: ClassVar[Where] = "preact"

    def __init__(self, *, pairs: Pairs | None = None, weight: Weight = WARM_UP) -> None:
        super().__init__({"reviewkd": weight}, pairs=pairs)

    def automatic(self, match: Match) -> tuple[Pair, ...]:
        """All pre-activations and the pooled features."""
        return (*match.preact, *match.pooled) if match.preact else ()

    def setup(self, facts: Facts) -> None:
        """Build one level for each pair, as wide as the student's deepest feature, 512 at most."""
        widths = [facts.student[layer][0] for layer, _ in self.pairs]
        width = min(MAX_WIDTH, widths[-1])
        self.sizes = [_size(facts.teacher[layer]) for _, layer in self.pairs]
        self.reduces = nn.ModuleList(_convolution(channels, width, 1) for channels in widths)
        self.attentions = nn.ModuleList(_Attention(width) for _ in widths[:-1])
        self.expands = nn.ModuleList(_convolution(width, facts.teacher[layer][0], 3) for _, layer in self.pairs)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `reviewkd`."""
        pairs = [(_as_map(ours), _as_map(theirs)) for ours, theirs in self.paired(student, teacher)]
        reviewed: Tensor | None = None
        losses: list[Tensor] = []
        for level in reversed(range(len(pairs))):
            ours, theirs = pairs[level]
            own = self.reduces[level](ours)
            if reviewed is not None:
                own = self.attentions[level](own, _resized(reviewed, (own.shape[2], own.shape[3])))
            reviewed = _resized(own, self.sizes[level])
            losses.append(pyramid_loss(self.expands[level](reviewed), theirs))
        return {"reviewkd": torch.stack(losses).sum()}


class _Attention(nn.Module):
    """Fuses two maps: a 1x1 convolution gives each its own weight in 0..1 at every position.

    Args:
        width: Channels of each map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(2 * width, 2, 1), nn.Sigmoid())

    def forward(self, own: Tensor, reviewed: Tensor) -> Tensor:
        """Two maps (batch, width, height, width) -> one."""
        weights = self.weigh(torch.cat([own, reviewed], dim=1))
        return own * weights[:, :1] + reviewed * weights[:, 1:]


def _convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    # As the authors start it.
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def _as_map(feature: Tensor) -> Tensor:
    return feature[:, :, None, None] if feature.ndim == 2 else feature


def _size(shape: Shape) -> tuple[int, int]:
    return (1, 1) if len(shape) == 1 else (shape[1], shape[2])


def _resized(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return feature if feature.shape[2:] == size else interpolate(feature, size, mode="nearest")
