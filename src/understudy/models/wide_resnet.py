"""Wide residual networks for 32x32 images (Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016)."""

from torch import Tensor, nn

from understudy.models.base import register_model
from understudy.models.layers import global_average, initialise


class PreactBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3x3 convolutions, and a shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution and the shortcut.
        dropout: Probability of dropping a value between the convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same_shape = stride == 1 and in_channels == out_channels
        self.shortcut = None if same_shape else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, out_channels, height / stride, width / stride)."""
        active = self.relu1(self.bn1(features))
        residual = self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(active)))))
        # As in the paper's code, a projection sees the activated input, the identity the raw one.
        return residual + (features if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """WRN-d-k with 6n + 4 layers: stem, three stages of n blocks, BatchNorm, `fc`.

    The stage outputs are sums before the activation; the first BatchNorm of the next stage, and `bn1`, follow them.

    Args:
        depth: Number of layers, 6n + 4.
        factor: How many times wider than a ResNet of 16-32-64 channels.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        dropout: Probability of dropping a value inside the blocks.
    """

    def __init__(self, depth: int, factor: int, *, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        num_blocks = (depth - 4) // 6
        widths = (16, 16 * factor, 32 * factor, 64 * factor)
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.layer1 = _stage(num_blocks, widths[0], widths[1], stride=1, dropout=dropout)
        self.layer2 = _stage(num_blocks, widths[1], widths[2], stride=2, dropout=dropout)
        self.layer3 = _stage(num_blocks, widths[2], widths[3], stride=2, dropout=dropout)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.relu = nn.ReLU()
        self.fc = nn.Linear(widths[3], num_classes)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> logits (batch, num_classes)."""
        features = self.layer3(self.layer2(self.layer1(self.conv1(image))))
        return self.fc(global_average(self.relu(self.bn1(features))))


def _stage(num_blocks: int, in_channels: int, out_channels: int, *, stride: int, dropout: float) -> nn.Sequential:
    first = PreactBlock(in_channels, out_channels, stride=stride, dropout=dropout)
    rest = [PreactBlock(out_channels, out_channels, stride=1, dropout=dropout) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)


def _register(depth: int, factor: int) -> None:
    def build(*, num_classes: int, in_channels: int = 3, dropout: float = 0.0) -> nn.Module:
        return WideResNet(depth, factor, num_classes=num_classes, in_channels=in_channels, dropout=dropout)

    build.__doc__ = f"Wide ResNet of {depth} layers, widened {factor} times, for 32x32 (Zagoruyko and Komodakis, 2016)."
    register_model(f"wrn-{depth}-{factor}", default_size=32)(build)


for _depth, _factors in {16: (1, 2, 4), 28: (1, 2, 4, 10), 40: (1, 2, 4)}.items():
    for _factor in _factors:
        _register(_depth, _factor)
