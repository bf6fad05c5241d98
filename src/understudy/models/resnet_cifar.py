"""Residual networks for 32x32 images (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, 4.2).

The four times wider `resnet8x4` and `resnet32x4` are those of the distillation literature (Tian et al., "Contrastive
Representation Distillation", ICLR 2020).
"""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.base import register_model
from understudy.models.layers import global_average, initialise

Shortcut = Literal["projection", "padding"]
NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


class PaddingShortcut(nn.Module):
    """Subsample, and fill the new channels with zeros on both sides: option A, without parameters.

    Args:
        num_new: Channels to add.
        stride: Subsampling of height and width.
    """

    def __init__(self, num_new: int, stride: int) -> None:
        super().__init__()
        self.num_new = num_new
        self.stride = stride

    def forward(self, image: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels + num_new, height / stride, width / stride)."""
        before = self.num_new // 2
        return F.pad(image[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.num_new - before))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution and the shortcut.
        shortcut: What takes the input to another shape.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride, shortcut)
        # Names the sum, so that methods on pre-activations can tap it.
        self.preact = nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, out_channels, height / stride, width / stride)."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(features)))))
        return self.relu2(self.preact(residual + self.downsample(features)))


class CifarResNet(nn.Module):
    """ResNet with 6n + 2 layers: stem, three stages of n blocks, `fc`.

    Args:
        depth: Number of layers, 6n + 2.
        widths: Channels of the stem and the three stages.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        shortcut: Where the shape changes: `projection` is a 1x1 convolution with BatchNorm (option B), `padding` has
            no parameters (option A).
    """

    def __init__(
        self, depth: int, widths: tuple[int, ...], *, num_classes: int, in_channels: int, shortcut: Shortcut
    ) -> None:
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(num_blocks, widths[0], widths[1], stride=1, shortcut=shortcut)
        self.layer2 = _stage(num_blocks, widths[1], widths[2], stride=2, shortcut=shortcut)
        self.layer3 = _stage(num_blocks, widths[2], widths[3], stride=2, shortcut=shortcut)
        self.fc = nn.Linear(widths[3], num_classes)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> logits (batch, num_classes)."""
        features = self.relu(self.bn1(self.conv1(image)))
        return self.fc(global_average(self.layer3(self.layer2(self.layer1(features)))))


def _shortcut(in_channels: int, out_channels: int, stride: int, shortcut: Shortcut) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if shortcut == "padding":
        return PaddingShortcut(out_channels - in_channels, stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _stage(num_blocks: int, in_channels: int, out_channels: int, *, stride: int, shortcut: Shortcut) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride=stride, shortcut=shortcut)
    rest = [BasicBlock(out_channels, out_channels, stride=1, shortcut=shortcut) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)


def _register(name: str, depth: int, widths: tuple[int, ...]) -> None:
    def build(*, num_classes: int, in_channels: int = 3, shortcut: Shortcut = "projection") -> nn.Module:
        if shortcut not in get_args(Shortcut):
            raise UserError(f"unknown shortcut '{shortcut}': choose from {', '.join(get_args(Shortcut))}")
        return CifarResNet(depth, widths, num_classes=num_classes, in_channels=in_channels, shortcut=shortcut)

    build.__doc__ = (
        f"ResNet of {depth} layers, {'-'.join(map(str, widths))} channels, for 32x32 (He et al., CVPR 2016)."
    )
    register_model(name, default_size=32)(build)


for _depth in (8, 14, 20, 32, 44, 56, 110):
    _register(f"resnet{_depth}", _depth, NARROW)
for _depth in (8, 32):
    _register(f"resnet{_depth}x4", _depth, WIDE)
