"""Division by the length, with a gradient that stays finite where there is no length."""

import torch
from torch import Tensor

# As in torch.nn.functional.normalize; shorter vectors have no direction.
SHORTEST = 1e-12


def unit(vectors: Tensor, *, dim: int = -1, shortest: float | Tensor = SHORTEST) -> Tensor:
    """Vectors divided by their L2 norm; those without a direction become 0, with a gradient of 0.

    `torch.nn.functional.normalize` gives the same values, but its gradient at a zero vector is 1e12 times the incoming
    one, which ends a training in which two samples once have the same feature.

    Args:
        vectors: Any shape, float32 or better.
        dim: The axis along which a vector lies.
        shortest: A norm up to which a vector counts as 0.

    Returns:
        The shape of `vectors`.
    """
    square = vectors.square().sum(dim, keepdim=True)
    long = square > shortest**2
    scale = torch.where(long, square, torch.ones_like(square)).rsqrt()
    return vectors * torch.where(long, scale, torch.zeros_like(scale))
