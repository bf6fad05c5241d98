"""Layers that several heads are made of."""

from torch import nn


def normalised(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
    """A convolution with BatchNorm and ReLU behind it.

    Args:
        in_channels: Of its input.
        out_channels: Of its output.
        kernel: Side of the kernel.
        stride: Of the convolution.
        padding: On each side.
    """
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


def classifier(channels: int, num_classes: int) -> nn.Module:
    """Average pooling and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
