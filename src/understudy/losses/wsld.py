"""Weighted soft labels (Zhou, Song, Chen, Zhou, Wang, Yuan and Zhang, ICLR 2021)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from understudy.losses.checks import at_least_float32, check_labels, check_logits, check_temperature

# Added to the teacher's cross-entropy, as in the authors' code.
EPSILON = 1e-7


def image_weights(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    r"""How much each image's soft targets count: $w_i = 1 - \exp(-CE_{s,i} / (CE_{t,i} + 10^{-7}))$.

    $CE$ is the cross-entropy with the label at temperature 1.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        labels: Class ids (batch,).

    Returns:
        (batch,), from 0 to 1, a constant for the gradient, float32 or better.

    Raises:
        ValueError: The shapes do not go together, or there is one class only.
    """
    check_logits(student_logits, teacher_logits)
    check_labels(student_logits, labels)
    ours, theirs = (
        cross_entropy(at_least_float32(logits.detach()), labels, reduction="none")
        for logits in (student_logits, teacher_logits)
    )
    return -torch.expm1(-ours / (theirs + EPSILON))


def weighted_kd_loss(
    student_logits: Tensor, teacher_logits: Tensor, weights: Tensor, temperature: float | Tensor = 2.0
) -> Tensor:
    r"""Knowledge distillation in which each image has a weight of its own.

    $\frac{T^2}{B} \sum_i w_i KL(softmax(z_{t,i} / T) \| softmax(z_{s,i} / T))$. KL is summed over classes; the sum is
    divided by the batch size, not by the weights.

    The authors' code has the soft cross-entropy in the place of KL: the gradient is the same, since $w$ is constant in
    it, and the value is larger by the weighted entropy of the teacher.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        weights: (batch,), as `image_weights` gives them.
        temperature: Above 0; 2 as in the authors' ImageNet runs. A 0-D tensor may change during training.

    Returns:
        A scalar, 0 where both distributions are equal.

    Raises:
        ValueError: The shapes do not go together, or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits)
    check_temperature(temperature)
    if weights.shape != student_logits.shape[:1]:
        raise ValueError(f"weights must be one for each of {len(student_logits)} images, got {tuple(weights.shape)}")
    student = log_softmax(at_least_float32(student_logits) / temperature, dim=1)
    teacher = log_softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
    divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return (weights.detach() * divergence).mean() * temperature**2
