"""Neuron selectivity transfer: the channels' maps as samples of one distribution (Huang and Wang, 2017)."""

from typing import Literal

from torch import Tensor

from understudy.losses.spatial import check_choice, pool_to_smaller, prepared
from understudy.losses.unit import unit

Kernel = Literal["linear", "polynomial", "gaussian"]

# Keeps the division finite where all channels of student and teacher are one and the same map.
BANDWIDTH_EPSILON = 1e-6


def nst_loss(student: Tensor, teacher: Tensor, *, kernel: Kernel = "polynomial") -> Tensor:
    r"""Squared maximum mean discrepancy between the channels' maps, each of length 1, averaged over the batch.

    With channels $x_i$ of the student and $y_j$ of the teacher,
    $mean_{ij} k(x_i, x_j) + mean_{ij} k(y_i, y_j) - 2 \, mean_{ij} k(x_i, y_j)$.

    - `linear`: $k = x \cdot y$, which is the squared distance of the mean maps.
    - `polynomial`: $k = (x \cdot y)^2$, which is $\|G_s / C_s - G_t / C_t\|_F^2$ with $G = X^T X$ over positions.
    - `gaussian`: $k = \exp(-\|x - y\|^2 / 2 \sigma^2)$, $\sigma^2$ being the mean squared distance between the
      student's and the teacher's channels of that image, taken as a constant.

    The teacher's own term, a constant, is kept: the value is 0 only where the distributions are equal under the kernel,
    and else positive, up to rounding. The gradient is that of the authors' code, which drops it. There is no factor
    1/2, as in RepDistiller, so the paper's weight is half of its $\lambda$. Only matrices of channels by channels, or
    of positions by positions where that is smaller, are made; RepDistiller makes (batch, channels, channels,
    positions). The lengths are over positions; some public code normalises over channels, which is not the paper's.

    Args:
        student: (batch, channels, height, width).
        teacher: (batch, any channels, any height, any width); the larger map is average-pooled.
        kernel: How two maps are compared.

    Returns:
        A scalar.

    Raises:
        ValueError: They are not maps of one batch, or the kernel is unknown.

    Paper: Huang and Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017.
    """
    check_choice("kernel", kernel, ("linear", "polynomial", "gaussian"))
    pooled = pool_to_smaller(*prepared(student, teacher))
    ours, theirs = (unit(values.flatten(2), dim=2) for values in pooled)
    if kernel == "linear":
        return (ours.mean(1) - theirs.mean(1)).square().sum(1).mean()
    return _polynomial(ours, theirs) if kernel == "polynomial" else _gaussian(ours, theirs)


def _polynomial(ours: Tensor, theirs: Tensor) -> Tensor:
    channels, positions = min(ours.shape[1], theirs.shape[1]), ours.shape[2]
    if positions <= channels:
        grams = [values.mT @ values / values.shape[1] for values in (ours, theirs)]
        return (grams[0] - grams[1]).square().sum((1, 2)).mean()

    def mean_kernel(first: Tensor, second: Tensor) -> Tensor:
        return (first @ second.mT).square().mean()

    return mean_kernel(ours, ours) + mean_kernel(theirs, theirs) - 2 * mean_kernel(ours, theirs)


def _gaussian(ours: Tensor, theirs: Tensor) -> Tensor:
    across = _squared_distances(ours, theirs)
    bandwidth = across.detach().mean((1, 2), keepdim=True).clamp(min=BANDWIDTH_EPSILON)

    def mean_kernel(distances: Tensor) -> Tensor:
        return (-distances / (2 * bandwidth)).exp().mean()

    within = mean_kernel(_squared_distances(ours, ours)) + mean_kernel(_squared_distances(theirs, theirs))
    return within - 2 * mean_kernel(across)


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """(batch, channels, length) twice -> (batch, channels, channels)."""
    lengths = first.square().sum(2)[:, :, None] + second.square().sum(2)[:, None]
    return (lengths - 2 * first @ second.mT).clamp(min=0)
