"""Losses between the logits of a student and of a teacher.

No gradient flows into the teacher's logits. Half precision is computed in float32.
"""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

from understudy.losses.checks import at_least_float32, check_logits, check_temperature, is_constant

# Keeps the division finite where all logits of an image are equal, as in the authors' code.
STANDARDIZE_EPSILON = 1e-7


def standardize(logits: Tensor) -> Tensor:
    """Each image's logits minus their mean, divided by their standard deviation (unbiased, plus 1e-7).

    The paper's formula divides by the biased deviation, its code by the unbiased one: they differ by 0.5 % with 100
    classes and by 5.4 % with 10. This is the code's, which the published figures come from. The gradient flows through
    mean and deviation, except that an image whose logits are all equal gets zeros without a gradient: the code there
    magnifies rounding, with gradients of 1e7. Standardised logits cap the confidence: at temperature 2 no probability
    exceeds .35 with 10 classes.

    Args:
        logits: (batch, classes), two classes or more.

    Returns:
        (batch, classes), float32 or better.

    Raises:
        ValueError: The logits are not (batch, classes), or there is one class only.

    Paper: Sun, Ren, Li, Wang and Cao, Logit Standardization in Knowledge Distillation, CVPR 2024.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must be of two classes or more, (batch, classes), got shape {tuple(logits.shape)}")
    values = at_least_float32(logits)
    centred = values - values.mean(1, keepdim=True)
    variance = centred.square().sum(1, keepdim=True) / (values.shape[1] - 1)
    # The clamp keeps the gradient of the square root finite where all logits of an image are equal.
    deviation = variance.clamp(min=STANDARDIZE_EPSILON**2).sqrt()
    return (centred / (deviation + STANDARDIZE_EPSILON)).masked_fill(is_constant(values, 1), 0.0)


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 4.0) -> Tensor:
    r"""Knowledge distillation: KL divergence between softened outputs, times the squared temperature.

    $T^2 \cdot KL(softmax(z_t / T) \| softmax(z_s / T))$, summed over classes and averaged over the batch
    (`batchmean`). With the factor the gradient stays of one size for all temperatures and tends to
    $(z_s - z_t) / (C B)$, both centred over the classes, as the temperature grows.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        temperature: Above 0; 4 as in the CIFAR-100 protocol of the CRD paper. A 0-D tensor may change during training.

    Returns:
        A scalar, 0 where both distributions are equal.

    Raises:
        ValueError: The shapes differ or the temperature is not above 0.

    Paper: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.

    >>> import torch
    >>> kd_loss(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0, 3.0]])).item()
    0.0
    """
    check_logits(student_logits, teacher_logits)
    check_temperature(temperature)
    student = log_softmax(at_least_float32(student_logits) / temperature, dim=1)
    teacher = log_softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
    return kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def logit_mse_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean squared difference of logits, averaged over batch and classes.

    Unlike `kd_loss` it also asks for the teacher's constant offset, to which a softmax is blind.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).

    Returns:
        A scalar, 0 where both are equal.

    Raises:
        ValueError: The shapes differ.

    Paper: Ba and Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014.
    """
    check_logits(student_logits, teacher_logits)
    return mse_loss(at_least_float32(student_logits), at_least_float32(teacher_logits.detach()))


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Cross-entropy of the student's softened outputs with the teacher's as targets.

    $-\sum_c softmax(z_t / T)_c \log softmax(z_s / T)_c$, averaged over the batch, without a factor of the squared
    temperature. Its gradient is that of KL(T) (that is `kd_loss` over the squared temperature); its value is
    larger by the entropy of the teacher, so it does not reach 0.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        temperature: Above 0.

    Returns:
        A scalar.

    Raises:
        ValueError: The shapes differ or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits)
    check_temperature(temperature)
    student = log_softmax(at_least_float32(student_logits) / temperature, dim=1)
    teacher = softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
    return -(teacher * student).sum(1).mean()
