"""Multi-level logit distillation (Jin, Wang and Lin, CVPR 2023)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from understudy.losses.checks import at_least_float32, check_logits, check_temperature

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)


class MultiLevel(NamedTuple):
    """The three parts of `multi_level_losses`.

    Attributes:
        instance: Between the probabilities of each image, a scalar.
        classes: Between the correlations of classes, a scalar.
        batch: Between the correlations of images, a scalar.
    """

    instance: Tensor
    classes: Tensor
    batch: Tensor


def multi_level_losses(
    student_logits: Tensor, teacher_logits: Tensor, temperatures: Tensor | Sequence[float] = TEMPERATURES
) -> MultiLevel:
    r"""Alignment of images, classes and the batch, each summed over several temperatures.

    With $P$ the (batch, classes) probabilities at a temperature $T$, and sums over all temperatures:

    - `instance` $= \sum_T T^2 KL(P_t \| P_s)$, summed over classes and averaged over the batch (`batchmean`);
    - `classes` $= \sum_T \|P_t^\top P_t - P_s^\top P_s\|_F^2 / C$;
    - `batch` $= \sum_T \|P_t P_t^\top - P_s P_s^\top\|_F^2 / B$.

    The first carries the squared temperature as in the authors' code; the matrices do not. `classes` grows with the
    square of the batch size.

    The authors' code differs from the paper: it adds a second, strongly augmented view, half of whose terms read the
    other view's logits or are computed and dropped, and it multiplies scalars with the mean of masks that were meant
    for single images and classes, which halves them. This is the paper's sum on one view.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        temperatures: Each above 0; 2 to 6 as in the authors' code. A tensor (temperatures,) may change.

    Returns:
        Three scalars, 0 where both are equal.

    Raises:
        ValueError: The shapes differ, there is no temperature, or one is not above 0.
    """
    check_logits(student_logits, teacher_logits)
    logits = at_least_float32(student_logits)
    scales = _as_tensor(temperatures, logits)
    student = log_softmax(logits / scales, dim=2)
    teacher = log_softmax(at_least_float32(teacher_logits.detach()) / scales, dim=2)
    num, num_classes = student_logits.shape
    divergence = kl_div(student, teacher, reduction="none", log_target=True)
    ours, theirs = student.exp(), teacher.exp()
    return MultiLevel(
        instance=(divergence * scales.square()).sum() / num,
        classes=(theirs.mT @ theirs - ours.mT @ ours).square().sum() / num_classes,
        batch=(theirs @ theirs.mT - ours @ ours.mT).square().sum() / num,
    )


def _as_tensor(temperatures: Tensor | Sequence[float], logits: Tensor) -> Tensor:
    """As (temperatures, 1, 1), in the logits' precision."""
    if not isinstance(temperatures, Tensor):
        for temperature in temperatures:
            check_temperature(temperature)
        temperatures = torch.tensor(temperatures, dtype=torch.float64)
    if temperatures.ndim != 1 or not len(temperatures):
        raise ValueError(f"temperatures must be one or more numbers, got shape {tuple(temperatures.shape)}")
    return temperatures.to(logits.device, logits.dtype)[:, None, None]
