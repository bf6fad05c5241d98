"""Decoupled knowledge distillation (Zhao, Cui, Song, Qiu and Liang, CVPR 2022)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from understudy.losses.checks import at_least_float32, check_labels, check_logits, check_temperature


class DecoupledKD(NamedTuple):
    """The two parts of `decoupled_kd_losses`.

    Attributes:
        target: How sure of the true class, a scalar.
        nontarget: How the rest is spread over the other classes, a scalar.
    """

    target: Tensor
    nontarget: Tensor


class _LogProbabilities(NamedTuple):
    # (batch, 2): of the true class and of all others together.
    binary: Tensor
    # (batch, classes): among the others; 0 at the true class, where it would be -inf.
    others: Tensor


def decoupled_kd_losses(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float | Tensor = 4.0
) -> DecoupledKD:
    r"""Knowledge distillation taken apart into target and non-target classes, each times the squared temperature.

    With $b = (p_y, 1 - p_y)$ for the true class $y$ and $\hat p$ the softmax over all classes but $y$, both of logits
    over $T$: `target` is $T^2 KL(b_t \| b_s)$ and `nontarget` $T^2 KL(\hat p_t \| \hat p_s)$, summed over classes and
    averaged over the batch (`batchmean`). Per image, `kd_loss` is `target` plus $(1 - p_{t,y})$ times `nontarget`.

    The authors' code (and mdistiller's) takes the logarithm of sums of probabilities and subtracts 1000 from the true
    class's logit: it gives nan or inf where the student is sure. Here everything stays in log space, which agrees with
    it elsewhere. With two classes `nontarget` is 0.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        labels: Class ids (batch,).
        temperature: Above 0; 4 as in the paper's CIFAR-100 runs. A 0-D tensor may change during training.

    Returns:
        Two scalars, 0 where both distributions are equal.

    Raises:
        ValueError: The shapes do not go together, there is one class only, or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits)
    check_labels(student_logits, labels)
    check_temperature(temperature)
    student = _split(at_least_float32(student_logits) / temperature, labels)
    teacher = _split(at_least_float32(teacher_logits.detach()) / temperature, labels)
    target = kl_div(student.binary, teacher.binary, reduction="batchmean", log_target=True)
    nontarget = kl_div(student.others, teacher.others, reduction="batchmean", log_target=True)
    return DecoupledKD(target * temperature**2, nontarget * temperature**2)


def _split(scaled: Tensor, labels: Tensor) -> _LogProbabilities:
    column = labels[:, None]
    is_target = torch.zeros_like(scaled, dtype=torch.bool).scatter(1, column, True)
    others = scaled.masked_fill(is_target, -torch.inf)
    parts = torch.cat([scaled.gather(1, column), others.logsumexp(1, keepdim=True)], dim=1)
    return _LogProbabilities(log_softmax(parts, dim=1), log_softmax(others, dim=1).masked_fill(is_target, 0.0))
