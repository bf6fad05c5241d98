"""Variational information distillation (Ahn, Hu, Damianou, Lawrence and Dai, CVPR 2019)."""

from torch import Tensor
from torch.nn.functional import softplus

from understudy.losses.checks import at_least_float32
from understudy.losses.maps import check_features

# Keeps a learned variance away from 0, as in RepDistiller.
MIN_VARIANCE = 1e-5


def variance_of(scale: Tensor) -> Tensor:
    """The variance of a free parameter: `softplus(scale) + 1e-5`, above 0 and finite for any finite value.

    `log(1 + exp(scale))` as it is often written overflows from 89 on in float32; `softplus` does not.

    Args:
        scale: Any shape.
    """
    return softplus(at_least_float32(scale)) + MIN_VARIANCE


def vid_loss(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    r"""Negative log likelihood of the teacher's feature under a Gaussian that the student predicts.

    $\frac12 \left[ (t - \mu)^2 / \sigma_c^2 + \log \sigma_c^2 \right]$ without the constant, averaged over batch,
    channels and positions, as in RepDistiller; the paper sums over channels and positions. It can be negative: with
    a variance below 1 and an error near 0 its lower bound is half the mean of $\log \sigma_c^2$.

    Args:
        mean: Predicted mean (batch, channels, ...).
        teacher: The teacher's feature, of the same shape.
        variance: One for each channel (channels,), above 0.

    Returns:
        A scalar.

    Raises:
        ValueError: The shapes differ, or there is not one variance for each channel.
    """
    check_features(mean, teacher)
    if variance.shape != mean.shape[1:2]:
        raise ValueError(
            f"variance must be one for each of {mean.shape[1]} channels, got shape {tuple(variance.shape)}"
        )
    spread = at_least_float32(variance).view(-1, *[1] * (mean.ndim - 2))
    error = at_least_float32(mean) - at_least_float32(teacher.detach())
    return (error.square() / spread + spread.log()).mean() / 2
