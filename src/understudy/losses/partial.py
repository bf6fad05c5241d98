"""Comprehensive overhaul of feature distillation (Heo, Kim, Yun, Park, Kwak and Choi, ICCV 2019)."""

import torch
from torch import Tensor

from understudy.losses.checks import at_least_float32
from understudy.losses.maps import check_features

# Below this share of negative responses the expectation is not computed, as in the authors' code.
RARE = 1e-3


def partial_l2_loss(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    r"""Squared distance to the teacher's clipped pre-activations that lets negative ones be as negative as they like.

    With $T = \max(t, m_c)$: 0 where $s \le T \le 0$, else $(T - s)^2$. Summed over channels and positions, averaged
    over the batch.

    Args:
        student: Pre-activations (batch, channels, ...), behind the connector.
        teacher: Pre-activations of the same shape.
        margin: What the teacher is clipped at from below, one for each channel (channels,), 0 or less.

    Returns:
        A scalar, 0 where the student equals the clipped teacher.

    Raises:
        ValueError: The shapes differ, or there is not one margin for each channel.
    """
    check_features(student, teacher)
    if margin.shape != student.shape[1:2]:
        raise ValueError(f"margin must be one for each of {student.shape[1]} channels, got {tuple(margin.shape)}")
    ours = at_least_float32(student)
    floor = margin.detach().to(ours.dtype).view(-1, *[1] * (student.ndim - 2))
    target = torch.maximum(at_least_float32(teacher.detach()).to(ours.dtype), floor)
    counts = (ours > target) | (target > 0)
    return ((ours - target).square() * counts).sum() / len(ours)


def normal_margin(mean: Tensor, deviation: Tensor) -> Tensor:
    r"""Expected value of the negative responses of normal variables: $E[x \mid x < 0]$ with $x \sim N(\mu, \sigma)$.

    $\mu - \sigma \phi(\mu / \sigma) / \Phi(-\mu / \sigma)$: of a channel behind a BatchNorm, $\mu$ is its bias
    and $\sigma$ the size of its weight. Where fewer than one response in a thousand is negative it is $-3 \sigma$,
    as in the authors' code.

    Args:
        mean: (channels,).
        deviation: (channels,), 0 or more.

    Returns:
        (channels,), 0 or less, in the dtype given.
    """
    # Float64, since the ratio of two tails loses digits.
    centre, spread = mean.detach().double(), deviation.detach().double()
    ratio = centre / spread.clamp(min=1e-12)
    density = torch.exp(-ratio.square() / 2) / (2 * torch.pi) ** 0.5
    share = torch.special.ndtr(-ratio)
    expected = centre - spread * density / share.clamp(min=RARE)
    return torch.where(share > RARE, expected, -3 * spread).clamp(max=0).to(mean.dtype)


def measured_margin(feature: Tensor) -> Tensor:
    """Mean of the negative responses of each channel, 0 for a channel without any.

    Args:
        feature: The teacher's pre-activations (batch, channels, ...).

    Returns:
        (channels,), 0 or less, float32 or better.
    """
    values = at_least_float32(feature.detach()).transpose(0, 1).flatten(1)
    negative = values < 0
    return (values * negative).sum(1) / negative.sum(1).clamp(min=1)
