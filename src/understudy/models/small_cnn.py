"""Small CNNs for 8x8 images, which train in seconds on a CPU: stages `layer1`, `layer2`, ... and `fc`."""

from collections import OrderedDict
from itertools import pairwise

from torch import nn

from understudy.models.base import register_model
from understudy.models.layers import initialise


@register_model("cnn-xs", default_size=8)
def cnn_xs(*, num_classes: int, in_channels: int = 3, width: int = 48) -> nn.Module:
    """Two convolutions of `width` channels for 8x8; 21,850 parameters for ten classes of grey images.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Channels of both convolutions.
    """
    return _small_cnn((width, width), 1, num_classes=num_classes, in_channels=in_channels)


@register_model("cnn-s", default_size=8)
def cnn_s(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Two convolutions of 64 and 128 channels for 8x8; 75,978 parameters for ten classes of grey images.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """
    return _small_cnn((64, 128), 1, num_classes=num_classes, in_channels=in_channels)


@register_model("cnn-m", default_size=8)
def cnn_m(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Six convolutions of 32, 64 and 128 channels for 8x8: a teacher, 97.5 % on the digits (719 training images).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """
    return _small_cnn((32, 64, 128), 2, num_classes=num_classes, in_channels=in_channels)


def _small_cnn(widths: tuple[int, ...], num_convs: int, *, num_classes: int, in_channels: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (before, width) in enumerate(pairwise((in_channels, *widths)), start=1):
        layers[f"layer{i}"] = _stage(before, width, num_convs, stride=1 if i == 1 else 2)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(widths[-1], num_classes)
    network = nn.Sequential(layers)
    initialise(network)
    return network


def _stage(in_channels: int, width: int, num_convs: int, *, stride: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, num_convs + 1):
        layers[f"conv{i}"] = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(width)
        layers[f"relu{i}"] = nn.ReLU()
        in_channels, stride = width, 1
    return nn.Sequential(layers)
