"""Separable convolutions behind an attention (Zhang, Bao and Ma, Self-Distillation, TPAMI 2021; SCAN, NeurIPS 2019)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from understudy.branches.base import Place, register_head
from understudy.branches.layers import classifier


class Attention(nn.Module):
    """Weighs each element of a map by a number in 0..1 that is seen at half the resolution.

    Args:
        channels: Of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = separable_convolution(channels, channels, stride=2)

    def forward(self, feature: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same shape."""
        seen = interpolate(self.look(feature), feature.shape[2:], mode="bilinear")
        return torch.sigmoid(seen) * feature


@register_head("separable")
def separable(place: Place) -> nn.Module:
    """Attention, then one separable convolution for each halving down to the last map's size, pooling, a linear layer.

    Each doubles the channels up to the width of what the network's own head reads, at which the last one ends.
    """
    steps = max(1, round(place.shrink).bit_length() - 1)
    widths = [min(place.shape[0] * 2**step, place.deepest[0]) for step in range(steps)] + [place.deepest[0]]
    stride = 2 if place.shrink > 1 else 1
    halvings = [separable_convolution(a, b, stride=stride) for a, b in pairwise(widths)]
    return nn.Sequential(Attention(place.shape[0]), *halvings, classifier(place.deepest[0], place.num_classes))


def separable_convolution(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    """Depthwise 3x3 and pointwise convolution, twice, the first with the stride; each pair with BatchNorm and ReLU.

    Args:
        in_channels: Of its input.
        out_channels: Of its output.
        stride: Of the first one.
    """
    first = _depthwise_and_pointwise(in_channels, in_channels, stride)
    return nn.Sequential(*first, *_depthwise_and_pointwise(in_channels, out_channels, 1))


def _depthwise_and_pointwise(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]
