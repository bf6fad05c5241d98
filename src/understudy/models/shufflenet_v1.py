"""ShuffleNet for 32x32 images (Zhang et al., "ShuffleNet", CVPR 2018), three groups, unstrided 1x1 stem."""

import torch
from torch import Tensor, nn

from understudy.models.base import register_model
from understudy.models.layers import ChannelShuffle, global_average

NUM_STEM = 24
NUM_GROUPS = 3
WIDTHS = (240, 480, 960)
NUM_BLOCKS = (4, 8, 4)


class ShuffleBlock(nn.Module):
    """Grouped 1x1, shuffle, 3x3 per channel, grouped 1x1; added to the input or, when strided, concatenated with it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: 1 adds, 2 concatenates.
        num_groups: Groups of the first 1x1 convolution; the last one has three.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, num_groups: int) -> None:
        super().__init__()
        new = out_channels - in_channels if stride == 2 else out_channels
        middle = new // 4
        self.conv1 = nn.Conv2d(in_channels, middle, 1, groups=num_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.shuffle = ChannelShuffle(num_groups)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(middle, new, 1, groups=NUM_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(new)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        # Names the joined features, so that methods on pre-activations can tap them.
        self.preact = nn.Identity()
        self.relu3 = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, out_channels, height / stride, width / stride)."""
        shuffled = self.shuffle(self.relu1(self.bn1(self.conv1(features))))
        residual = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(shuffled)))))
        joined = residual + features if self.pool is None else torch.cat([residual, self.pool(features)], 1)
        return self.relu3(self.preact(joined))


class CifarShuffleNetV1(nn.Module):
    """Stem, three stages that each halve the resolution, `fc`.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, NUM_STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(NUM_STEM)
        self.relu = nn.ReLU()
        # The stem is too narrow for groups (the paper, 3.2).
        self.layer1 = _stage(NUM_STEM, WIDTHS[0], NUM_BLOCKS[0], first_groups=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], NUM_BLOCKS[1], first_groups=NUM_GROUPS)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], NUM_BLOCKS[2], first_groups=NUM_GROUPS)
        self.fc = nn.Linear(WIDTHS[2], num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> logits (batch, num_classes)."""
        features = self.relu(self.bn1(self.conv1(image)))
        return self.fc(global_average(self.layer3(self.layer2(self.layer1(features)))))


@register_model("shufflenetv1", default_size=32)
def shufflenetv1(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    """ShuffleNet of 240-480-960 channels, three groups, for 32x32 (Zhang et al., CVPR 2018).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """
    return CifarShuffleNetV1(num_classes=num_classes, in_channels=in_channels)


def _stage(in_channels: int, out_channels: int, num_blocks: int, *, first_groups: int) -> nn.Sequential:
    first = ShuffleBlock(in_channels, out_channels, stride=2, num_groups=first_groups)
    rest = [ShuffleBlock(out_channels, out_channels, stride=1, num_groups=NUM_GROUPS) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)
