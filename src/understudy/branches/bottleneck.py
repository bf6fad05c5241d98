"""The bottleneck of Be Your Own Teacher (Zhang, Song, Gao, Chen, Bao and Ma, ICCV 2019)."""

from pydantic import PositiveInt
from torch import nn

from understudy.branches.base import Place, register_head
from understudy.branches.layers import classifier, normalised


@register_head("bottleneck")
def bottleneck(place: Place, *, reduction: PositiveInt = 4) -> nn.Module:
    """Convolutions 1x1, kxk with stride k, and 1x1, each with BatchNorm and ReLU, pooling, one linear layer.

    k brings the map to the size of the network's last one, and the width becomes that of what its own head reads, so
    that a hint needs no adapter.

    Args:
        place: Where the head stands.
        reduction: The middle is this many times narrower than the end; 4 as in luanyunteng's code.
    """
    width, k = place.deepest[0], place.shrink
    middle = max(1, width // reduction)
    return nn.Sequential(
        normalised(place.shape[0], middle, 1),
        normalised(middle, middle, k, stride=k),
        normalised(middle, width, 1),
        classifier(width, place.num_classes),
    )
