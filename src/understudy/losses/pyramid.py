"""Hierarchical context loss (Chen, Liu, Zhao and Jia, Distilling Knowledge via Knowledge Review, CVPR 2021)."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from understudy.losses.checks import at_least_float32
from understudy.losses.maps import check_features, check_maps
from understudy.losses.spatial import pool_to

# Sides of the pooled maps that are compared besides the whole one, as in the authors' code.
LEVELS = (4, 2, 1)


def pyramid_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of two maps and of their averages on 4x4, 2x2 and 1x1 cells.

    Weights 1, 1/2, 1/4, 1/8 from the whole map to one cell, divided by their sum; a level that is not smaller than
    the map is left out. Each level is averaged over batch, channels and positions.

    Args:
        student: (batch, channels, height, width).
        teacher: The same shape.

    Returns:
        A scalar, 0 where both are equal.

    Raises:
        ValueError: The shapes differ, or they are no maps.
    """
    check_features(student, teacher)
    check_maps(student)
    ours, theirs = at_least_float32(student), at_least_float32(teacher.detach())
    smaller = [side for side in LEVELS if side < min(ours.shape[2:])]
    pooled = [mse_loss(pool_to(ours, (side, side)), pool_to(theirs, (side, side))) for side in smaller]
    levels = [level * 0.5**number for number, level in enumerate([mse_loss(ours, theirs), *pooled])]
    return torch.stack(levels).sum() / sum(0.5**number for number in range(len(levels)))
