"""The heads of SanityLacking's Self-Distillation (Robertson, 2022), which flatten a small map into wide layers."""

from typing import Annotated

from pydantic import Field, PositiveInt
from torch import nn

from understudy.branches.base import Place, register_head

Share = Annotated[float, Field(ge=0, lt=1)]


@register_head("conv1")
def conv1(
    place: Place, *, width: PositiveInt = 1024, second_width: PositiveInt = 512, dropout: Share = 0.2
) -> nn.Module:
    """1x1 convolutions of 64, 64 and (stride 2) 256 channels with ReLU and BatchNorm, then linear layers.

    It takes one size of images only. Logits come out, where the published one ends in a softmax.

    Args:
        place: Where the head stands.
        width: Of the first linear layer.
        second_width: Of the second one.
        dropout: Share of the first one's outputs that are dropped in training.
    """
    convolutions = [
        _convolution(place.shape[0], 64, 1),
        _convolution(64, 64, 1),
        _convolution(64, 256, 1, stride=2),
    ]
    sides = _halved(place.shape[1], 1), _halved(place.shape[2], 1)
    flat = 256 * sides[0] * sides[1]
    return nn.Sequential(*convolutions, *_linear(flat, width, second_width, dropout, place.num_classes))


@register_head("distill")
def distill(
    place: Place, *, width: PositiveInt = 1024, second_width: PositiveInt = 512, dropout: Share = 0.2
) -> nn.Module:
    """1x1 convolutions of 128, 128 and 512 channels, 3x3 pooling of stride 2 behind the last two, then linear layers.

    It takes one size of images only. The published one computes its loss itself; here `self-distillation` does.

    Args:
        place: Where the head stands.
        width: Of the first linear layer.
        second_width: Of the second one.
        dropout: Share of the first one's outputs that are dropped in training.
    """
    convolutions = [
        _convolution(place.shape[0], 128, 1),
        _convolution(128, 128, 1),
        # Padded, so that a map of one pixel remains one.
        nn.MaxPool2d(3, 2, padding=1),
        _convolution(128, 512, 1),
        nn.MaxPool2d(3, 2, padding=1),
    ]
    sides = _halved(place.shape[1], 2), _halved(place.shape[2], 2)
    flat = 512 * sides[0] * sides[1]
    return nn.Sequential(*convolutions, *_linear(flat, width, second_width, dropout, place.num_classes))


def _convolution(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1) -> nn.Module:
    """The activation stands before the normalisation, as in the published code."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride)
    return nn.Sequential(convolution, nn.ReLU(), nn.BatchNorm2d(out_channels))


def _halved(side: int, times: int) -> int:
    for _ in range(times):
        side = (side + 1) // 2
    return side


def _linear(flat: int, width: int, second: int, dropout: float, num_classes: int) -> list[nn.Module]:
    hidden = [nn.Linear(flat, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, second), nn.ReLU()]
    return [nn.Flatten(), *hidden, nn.Linear(second, num_classes)]
