r"""Distillation from a virtual teacher, a distribution that is made from the label alone.

The virtual teacher gives the true class the probability $a$ and each of the other $C - 1$ classes
$(1 - a) / (C - 1)$. Softening it means to apply a softmax to these **probabilities**, which leaves next to nothing of
them: with ten classes, $a = .9$ and $T = 1$ the true class keeps .2128, at $T = 20$ .1041.

Paper: Yuan, Tay, Li, Wang and Feng, Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020.
"""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax

from understudy.losses.checks import at_least_float32, check_labels, check_temperature


def virtual_teacher(logits: Tensor, labels: Tensor, confidence: float | Tensor = 0.99) -> Tensor:
    """What the virtual teacher says about each image: probabilities (batch, classes) of the kind of the logits.

    Args:
        logits: (batch, classes), for the number of classes.
        labels: Class ids (batch,).
        confidence: Probability of the true class, above 0 and at most 1; .99 as in the authors' code.

    Raises:
        ValueError: The shapes do not go together, there is one class only, or the confidence is out of its range.
    """
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(f"logits must be of shape (batch, classes) and not empty, got shape {tuple(logits.shape)}")
    check_labels(logits, labels)
    check_confidence(confidence)
    true = at_least_float32(logits.detach()).new_zeros(logits.shape).scatter(1, labels[:, None], 1.0)
    return true * confidence + (1 - true) * (1 - confidence) / (logits.shape[1] - 1)


def published_virtual_loss(
    logits: Tensor, labels: Tensor, confidence: float | Tensor = 0.99, temperature: float | Tensor = 20.0
) -> Tensor:
    r"""As the authors' code has it: the teacher is softened, the student is not, and there is no squared temperature.

    $KL(softmax(p^d / T) \| softmax(z))$, summed over classes and averaged over the batch (`batchmean`). The authors
    average over the classes too and multiply by a `multiplier`: their weight $\alpha \cdot multiplier$ is
    $\alpha \cdot multiplier / C$ here.

    Args:
        logits: (batch, classes).
        labels: Class ids (batch,).
        confidence: Of the teacher before it is softened; .99 as in the authors' code.
        temperature: Above 0; 20 or 40 there.

    Returns:
        A scalar, 0 where the student says what the softened teacher says.

    Raises:
        ValueError: As `virtual_teacher`, or the temperature is not above 0.
    """
    check_temperature(temperature)
    teacher = softmax(virtual_teacher(logits, labels, confidence) / temperature, dim=1)
    return kl_div(log_softmax(at_least_float32(logits), dim=1), teacher, reduction="batchmean")


def softened_virtual_loss(
    logits: Tensor, labels: Tensor, confidence: float | Tensor = 0.99, temperature: float | Tensor = 20.0
) -> Tensor:
    r"""As KD_Lib and distillistic have it: both sides are softened, as in knowledge distillation.

    $T^2 \cdot KL(softmax(p^d / T) \| softmax(z / T))$, summed over classes and averaged over the batch (`batchmean`).

    Args:
        logits: (batch, classes).
        labels: Class ids (batch,).
        confidence: Of the teacher before it is softened; .9 in distillistic.
        temperature: Above 0.

    Returns:
        A scalar, 0 where the logits are those of the teacher's probabilities, up to a constant.

    Raises:
        ValueError: As `virtual_teacher`, or the temperature is not above 0.
    """
    check_temperature(temperature)
    teacher = log_softmax(virtual_teacher(logits, labels, confidence) / temperature, dim=1)
    student = log_softmax(at_least_float32(logits) / temperature, dim=1)
    return kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def calibrated_virtual_loss(logits: Tensor, labels: Tensor, confidence: float | Tensor = 0.99) -> Tensor:
    r"""The virtual teacher as it is: its probabilities are compared, without a softmax on top and without temperature.

    $KL(p^d \| softmax(z))$, summed over classes and averaged over the batch (`batchmean`). With the weight $w$ beside
    a label loss of $1 - w$ it is label smoothing of $\epsilon = w (1 - a) C / (C - 1)$, gradient for gradient.

    Args:
        logits: (batch, classes).
        labels: Class ids (batch,).
        confidence: Probability of the true class; .9 in the study that proposes it (distillistic).

    Returns:
        A scalar, 0 where the student is as confident as the teacher.

    Raises:
        ValueError: As `virtual_teacher`.
    """
    teacher = virtual_teacher(logits, labels, confidence)
    return kl_div(log_softmax(at_least_float32(logits), dim=1), teacher, reduction="batchmean")


def check_confidence(confidence: float | Tensor) -> None:
    """Refuse a confidence that is no probability; a tensor is not read, since that would wait for the device.

    Raises:
        ValueError: It is a number that is not above 0 and at most 1.
    """
    if not isinstance(confidence, Tensor) and not 0 < confidence <= 1:
        raise ValueError(f"confidence must be above 0 and at most 1, got {confidence}")
