"""Weighted soft labels (Zhou, Song, Chen, Zhou, Wang, Yuan and Zhang, ICLR 2021)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from understudy.losses.checks import at_least_float32, check_labels, check_logits, check_temperature

# Added to the teacher's cross-entropy, as in the authors' code.
EPSILON = 1e-7


def weighted_kd_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float | Tensor = 2.0
) -> Tensor:
    r"""Knowledge distillation in which images that the student already knows better than the teacher count less.

    $\frac{T^2}{B} \sum_i w_i KL(softmax(z_{t,i} / T) \| softmax(z_{s,i} / T))$ with
    $w_i = 1 - \exp(-CE_{s,i} / (CE_{t,i} + 10^{-7}))$, where $CE$ is the cross-entropy with the label at
    temperature 1. KL is summed over classes; the sum is divided by the batch size, not by the weights. No gradient
    flows through $w$.

    The authors' code has the soft cross-entropy in the place of KL: the gradient is the same, since $w$ is constant in
    it, and the value is larger by the weighted entropy of the teacher.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        labels: Class ids (batch,).
        temperature: Above 0; 2 as in the authors' ImageNet runs. A 0-D tensor may change during training.

    Returns:
        A scalar, 0 where both distributions are equal.

    Raises:
        ValueError: The shapes do not go together, there is one class only, or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits)
    check_labels(student_logits, labels)
    check_temperature(temperature)
    ours, theirs = at_least_float32(student_logits), at_least_float32(teacher_logits.detach())
    student, teacher = log_softmax(ours / temperature, dim=1), log_softmax(theirs / temperature, dim=1)
    divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return (_weight(ours.detach(), theirs, labels) * divergence).mean() * temperature**2


def _weight(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    ratio = cross_entropy(student, labels, reduction="none") / (
        cross_entropy(teacher, labels, reduction="none") + EPSILON
    )
    return -torch.expm1(-ratio)
