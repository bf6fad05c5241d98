"""Distillation from a stronger teacher (Huang, You, Wang, Qian and Xu, NeurIPS 2022)."""

from typing import NamedTuple

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import softmax

from understudy.losses.checks import at_least_float32, check_logits, check_temperature, is_constant

# Added to the product of the norms, as in the authors' code.
EPSILON = 1e-8


class Correlations(NamedTuple):
    """The two parts of `correlation_losses`.

    Attributes:
        inter: Between the classes of each image, a scalar.
        intra: Between the images of each class, a scalar.
    """

    inter: Tensor
    intra: Tensor


def correlation_losses(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 4.0
) -> Correlations:
    r"""One minus Pearson's correlation of softened probabilities, times the squared temperature.

    `inter` is $T^2 (1 - \frac1B \sum_i \rho(p_{s,i\cdot}, p_{t,i\cdot}))$ over the images' rows, `intra` is
    $T^2 (1 - \frac1C \sum_c \rho(p_{s,\cdot c}, p_{t,\cdot c}))$ over the classes' columns, so it depends on
    the batch size; for one image it is the constant $T^2$ without a gradient. A correlation asks for the teacher's
    ranking, not for its confidence.

    $\rho$ has 1e-8 added to its denominator as in the authors' code, so that rows and columns which hardly vary count
    for less. Where all values are equal it is 0 without a gradient; the code has a gradient of 1e8 there, which a
    classifier that starts at 0 would meet in its first step.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        temperature: Above 0; 4 as in the authors' CIFAR-100 runs, 1 on ImageNet. A 0-D tensor may change.

    Returns:
        Two scalars between 0 and twice the squared temperature.

    Raises:
        ValueError: The shapes differ or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits)
    check_temperature(temperature)
    student = softmax(at_least_float32(student_logits) / temperature, dim=1)
    teacher = softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)
    inter, intra = (1 - _correlation(student, teacher, dim).mean() for dim in (1, 0))
    return Correlations(inter * temperature**2, intra * temperature**2)


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    constant = is_constant(a, dim) | is_constant(b, dim)
    a = a - a.mean(dim, keepdim=True)
    b = b - b.mean(dim, keepdim=True)
    correlation = (a * b).sum(dim) / (vector_norm(a, dim=dim) * vector_norm(b, dim=dim) + EPSILON)
    return correlation.masked_fill(constant.squeeze(dim), 0.0)
