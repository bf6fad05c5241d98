"""ShuffleNetV2 for 32x32 images (Ma et al., "ShuffleNet V2", ECCV 2018), size 1x, unstrided 1x1 stem."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from understudy.models.base import register_model
from understudy.models.layers import ChannelShuffle, global_average

NUM_STEM = 24
WIDTHS = (116, 232, 464)
NUM_BLOCKS = (4, 8, 4)
NUM_LAST = 1024


class SplitBlock(nn.Module):
    """Half of the channels pass, the other half is computed; then the halves are shuffled.

    Args:
        channels: Channels of the input and the output, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = _branch(half, half, stride=1)
        self.shuffle = ChannelShuffle(2)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same shape."""
        passed, computed = features.chunk(2, 1)
        return self.shuffle(torch.cat([passed, self.branch(computed)], 1))


class DownBlock(nn.Module):
    """Two strided branches see all channels; their outputs are shuffled.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, even.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
        )
        self.branch = _branch(in_channels, half, stride=2)
        self.shuffle = ChannelShuffle(2)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, out_channels, height / 2, width / 2)."""
        return self.shuffle(torch.cat([self.shortcut(features), self.branch(features)], 1))


class CifarShuffleNetV2(nn.Module):
    """Stem, three stages that each halve the resolution, 1x1 convolution to 1024 channels, `fc`.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, NUM_STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(NUM_STEM)
        self.relu1 = nn.ReLU()
        self.layer1 = _stage(NUM_STEM, WIDTHS[0], NUM_BLOCKS[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], NUM_BLOCKS[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], NUM_BLOCKS[2])
        self.conv2 = nn.Conv2d(WIDTHS[2], NUM_LAST, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(NUM_LAST)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(NUM_LAST, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> logits (batch, num_classes)."""
        features = self.relu1(self.bn1(self.conv1(image)))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.fc(global_average(self.relu2(self.bn2(self.conv2(features)))))


@register_model("shufflenetv2", default_size=32)
def shufflenetv2(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    """ShuffleNetV2 of 116-232-464 channels for 32x32 (Ma et al., ECCV 2018).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """
    return CifarShuffleNetV2(num_classes=num_classes, in_channels=in_channels)


def _branch(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            bn1=nn.BatchNorm2d(out_channels),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(out_channels, out_channels, 3, stride, padding=1, groups=out_channels, bias=False),
            bn2=nn.BatchNorm2d(out_channels),
            conv3=nn.Conv2d(out_channels, out_channels, 1, bias=False),
            bn3=nn.BatchNorm2d(out_channels),
            relu2=nn.ReLU(),
        )
    )


def _stage(in_channels: int, out_channels: int, num_blocks: int) -> nn.Sequential:
    rest = [SplitBlock(out_channels) for _ in range(num_blocks - 1)]
    return nn.Sequential(DownBlock(in_channels, out_channels), *rest)
