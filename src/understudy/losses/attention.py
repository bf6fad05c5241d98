"""Attention transfer on activations: where a network looks (Zagoruyko and Komodakis, ICLR 2017)."""

from typing import Literal

import torch
from torch import Tensor

from understudy.losses.checks import at_least_float32
from understudy.losses.spatial import check_choice, pool_to_smaller, prepared
from understudy.losses.unit import SHORTEST, unit

Mapping = Literal["sum", "sum_p", "max_p"]
AttentionNorm = Literal["mean", "paper"]


def attention_map(feature: Tensor, *, mapping: Mapping = "sum_p", p: float = 2.0) -> Tensor:
    r"""One attention value for each position, as a vector of length 1.

    Over the channels $c$ of a map: `sum` is $\sum_c |f_c|$, `sum_p` is $\sum_c |f_c|^p$ and `max_p` is
    $\max_c |f_c|^p$. A mean over the channels would be the same after the division by the length, as would any
    positive factor of the feature: each image's is divided by its largest value before the power, which would leave
    float32's range. A map whose largest value is at most 1e-12 counts as zeros, and zeros stay zeros.

    Args:
        feature: (batch, channels, height, width).
        mapping: How channels become one value.
        p: The power, 1 or more; `sum` takes none. 2 as in all public code, the paper's 4 sharpens the peaks.

    Returns:
        (batch, height * width), float32 or better.

    Raises:
        ValueError: The feature is not a map, the mapping is unknown, or the power is below 1.
    """
    if feature.ndim != 4:
        raise ValueError(f"expected maps (batch, channels, height, width), got {tuple(feature.shape)}")
    check_choice("mapping", mapping, ("sum", "sum_p", "max_p"))
    if not p >= 1:
        raise ValueError(f"p must be 1 or more, got {p}")
    strength = _of_largest(at_least_float32(feature).abs())
    strength = strength.amax(1) if mapping == "max_p" else strength
    strength = strength if mapping == "sum" else strength.pow(p)
    return unit((strength if mapping == "max_p" else strength.sum(1)).flatten(1), dim=1)


def _of_largest(strength: Tensor) -> Tensor:
    """Each image's values as a share of its largest, which is a constant: what follows does not depend on it."""
    largest = strength.detach().amax((1, 2, 3), keepdim=True)
    seen = largest > SHORTEST
    return torch.where(seen, strength, 0.0) / torch.where(seen, largest, 1.0)


def attention_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    mapping: Mapping = "sum_p",
    p: float = 2.0,
    norm: AttentionNorm = "mean",
) -> Tensor:
    r"""Difference of the attention maps $q$ of one pair of layers; the larger feature is average-pooled before.

    `mean` is $(q_s - q_t)^2$ averaged over batch and positions, as in the authors' code, RepDistiller and
    mdistiller, which sum it over the pairs. `paper` is $\frac{1}{2} \|q_s - q_t\|_2$, not squared, averaged over the
    batch: its gradient keeps its size as the maps come close. Their weights differ by the number of positions:
    1000 for `mean` is about 0.1 for a squared norm in CIFAR's networks.

    Args:
        student: (batch, channels, height, width).
        teacher: (batch, any channels, any height, any width).
        mapping: As `attention_map`.
        p: As `attention_map`.
        norm: The reduction.

    Returns:
        A scalar, 0 where both maps are equal up to a factor for each image.

    Raises:
        ValueError: They are not maps of one batch, or a setting is unknown.

    Paper: Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017.
    """
    check_choice("norm", norm, ("mean", "paper"))
    ours, theirs = pool_to_smaller(*prepared(student, teacher))
    difference = attention_map(ours, mapping=mapping, p=p) - attention_map(theirs, mapping=mapping, p=p)
    if norm == "mean":
        return difference.square().mean()
    return torch.linalg.vector_norm(difference, dim=1).mean() / 2
