"""MobileNetV2 for 32x32 images (Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018).

Sized as in the distillation literature (Tian et al., ICLR 2020): half width, 1280 last channels, plain ReLU.
"""

from torch import Tensor, nn

from understudy.models.base import register_model
from understudy.models.layers import global_average, initialise

# The paper's table 2: expansion (None: the setting), channels at width 1, blocks, first stride; one list per stage.
# The second row has stride 1 here, since the images are small.
STAGES: tuple[tuple[tuple[int | None, int, int, int], ...], ...] = (
    ((1, 16, 1, 1), (None, 24, 2, 1)),
    ((None, 32, 3, 2),),
    ((None, 64, 4, 2), (None, 96, 3, 1)),
    ((None, 160, 3, 2), (None, 320, 1, 1)),
)
NUM_LAST = 1280


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter each channel with 3x3, project with 1x1; the output is linear.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the 3x3 convolution.
        expansion: Channels in the middle per channel of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_channels * expansion
        self.conv1 = nn.Conv2d(in_channels, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(middle, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, out_channels, height / stride, width / stride)."""
        expanded = self.relu1(self.bn1(self.conv1(features)))
        filtered = self.relu2(self.bn2(self.conv2(expanded)))
        projected = self.bn3(self.conv3(filtered))
        return features + projected if self.has_shortcut else projected


class CifarMobileNetV2(nn.Module):
    """Strided stem, four stages by resolution, 1x1 convolution to 1280 channels, `fc`.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Multiplies the channels of the stem and the stages, rounded down.
        expansion: Expansion of the blocks.
    """

    def __init__(self, *, num_classes: int, in_channels: int, width: float, expansion: int) -> None:
        super().__init__()
        stem = int(32 * width)
        ends = [int(rows[-1][1] * width) for rows in STAGES]
        self.conv1 = nn.Conv2d(in_channels, stem, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu1 = nn.ReLU()
        self.layer1 = _stage(0, stem, width, expansion)
        self.layer2 = _stage(1, ends[0], width, expansion)
        self.layer3 = _stage(2, ends[1], width, expansion)
        self.layer4 = _stage(3, ends[2], width, expansion)
        self.conv2 = nn.Conv2d(ends[3], NUM_LAST, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(NUM_LAST)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(NUM_LAST, num_classes)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> logits (batch, num_classes)."""
        features = self.relu1(self.bn1(self.conv1(image)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.fc(global_average(self.relu2(self.bn2(self.conv2(features)))))


@register_model("mobilenetv2", default_size=32)
def mobilenetv2(*, num_classes: int, in_channels: int = 3, width: float = 0.5, expansion: int = 6) -> nn.Module:
    """MobileNetV2 of half width for 32x32 (Sandler et al., CVPR 2018).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Multiplies the channels; 0.5 as in Tian et al. (2020).
        expansion: Expansion of the blocks; 6 as in the paper.
    """
    return CifarMobileNetV2(num_classes=num_classes, in_channels=in_channels, width=width, expansion=expansion)


def _stage(index: int, in_channels: int, width: float, expansion: int) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for own_expansion, channels, num_blocks, first_stride in STAGES[index]:
        out_channels = int(channels * width)
        for i in range(num_blocks):
            stride = first_stride if i == 0 else 1
            blocks.append(
                InvertedResidual(in_channels, out_channels, stride=stride, expansion=own_expansion or expansion)
            )
            in_channels = out_channels
    return nn.Sequential(*blocks)
