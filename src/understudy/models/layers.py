"""What several of the families are made of."""

from torch import Tensor, nn


def initialise(network: nn.Module) -> None:
    """Draw convolution weights from a normal distribution of variance 2 / fan-out (He et al., ICCV 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def global_average(features: Tensor) -> Tensor:
    """(batch, channels, height, width) -> (batch, channels)."""
    return features.mean((2, 3))


class ChannelShuffle(nn.Module):
    """Deal the channels of each group out over all groups (Zhang et al., CVPR 2018).

    Args:
        num_groups: Groups of the convolution before; divides the number of channels.
    """

    def __init__(self, num_groups: int) -> None:
        super().__init__()
        self.num_groups = num_groups

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same shape, channels reordered."""
        return features.unflatten(1, (self.num_groups, -1)).transpose(1, 2).flatten(1, 2)
