"""Features of any network with channels first."""

import math

from torch import Tensor

# Class, distillation and register tokens that may stand before those of the image.
MAX_EXTRA_TOKENS = 8


def as_map(feature: Tensor, size: tuple[int, int] = (1, 1)) -> Tensor:
    """A feature with channels first: the one form in which methods see features.

    Tokens (batch, tokens, channels) of a transformer become a map; class, distillation and register tokens, which stand
    first, are dropped. Maps with channels last, as in Swin, are told by their sides: a map has those of the image, up
    to rounding. Anything else stays as it is: vectors (batch, channels), maps (batch, channels, height, width), and
    tokens whose number fits no map.

    Args:
        feature: (batch, ...).
        size: Height and width of the image; only their ratio counts.
    """
    if feature.ndim == 3:
        return _from_tokens(feature, size)
    if feature.ndim == 4:
        first, second, third = feature.shape[1:]
        if not _is_like(second, third, size) and _is_like(first, second, size):
            return feature.permute(0, 3, 1, 2)
    return feature


def _from_tokens(feature: Tensor, size: tuple[int, int]) -> Tensor:
    for extra in range(min(MAX_EXTRA_TOKENS, feature.shape[1] - 1) + 1):
        num = feature.shape[1] - extra
        height = max(round(math.sqrt(num * size[0] / size[1])), 1)
        if num % height == 0 and _is_like(height, num // height, size):
            return feature[:, extra:].transpose(1, 2).unflatten(2, (height, num // height))
    return feature


def _is_like(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether these may be the sides of an image of this size after it was made smaller."""
    return abs(height - width * size[0] / size[1]) < 1
