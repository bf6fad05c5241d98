"""Activation boundaries (Heo, Lee, Yun and Choi, AAAI 2019)."""

import torch
from torch import Tensor

from understudy.losses.checks import at_least_float32
from understudy.losses.maps import check_features


def boundary_loss(student: Tensor, teacher: Tensor, margin: float | Tensor = 1.0) -> Tensor:
    r"""Squared hinge that puts the student's pre-activations on the teacher's side of 0, by a margin.

    $(s + m)^2$ where $t \le 0$ and $s > -m$; $(m - s)^2$ where $t > 0$ and $s \le m$; 0 elsewhere. Summed over
    channels and positions, averaged over the batch. Only the sign of the teacher counts.

    Args:
        student: Pre-activations (batch, channels, ...).
        teacher: Pre-activations of the same shape.
        margin: Above 0; 1 as in the paper's experiments and RepDistiller. A 0-D tensor may change during training.

    Returns:
        A scalar, 0 where all signs agree by the margin.

    Raises:
        ValueError: The shapes differ, or the margin is a number not above 0.
    """
    check_features(student, teacher)
    if not isinstance(margin, Tensor) and not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin}")
    ours = at_least_float32(student)
    # How far the response is from where it should be: both cases are one hinge on the side the teacher is on.
    side = torch.where(teacher.detach() > 0, 1.0, -1.0).to(ours.dtype)
    return (margin - side * ours).clamp(min=0).square().sum() / len(ours)
