"""What every loss asks of its tensors."""

import torch
from torch import Tensor


def check_logits(student: Tensor, teacher: Tensor) -> None:
    """Refuse logits that would broadcast: `kl_div` of (2, 3) with (2, 1) gives a number and no error.

    Raises:
        ValueError: The two are not both (batch, classes) of one shape, or the batch is empty.
    """
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher logits must have one shape (batch, classes), "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if student.numel() == 0:
        raise ValueError(f"logits must not be empty, got shape {tuple(student.shape)}")


def check_vectors(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that are not one vector for each of the same samples; their widths may differ.

    Raises:
        ValueError: The two are not both (batch, width) of one batch, or they are empty.
    """
    shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(f"student and teacher features must be (batch, width) of one batch, got {shapes}")
    if not student.numel() or not teacher.numel():
        raise ValueError(f"features must not be empty, got shapes {shapes}")


def check_temperature(temperature: float | Tensor) -> None:
    """Refuse a temperature of 0 or less; a tensor is not read, since that would wait for the device.

    Raises:
        ValueError: The temperature is a number that is not above 0.
    """
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision becomes float32, since losses lose too much in it; float32 and float64 stay."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Refuse labels that are not one class id per row of the logits, and logits of a single class.

    Raises:
        ValueError: The labels are not (batch,) whole numbers, or there are fewer than two classes.
    """
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels must be class ids of shape ({logits.shape[0]},), got {tuple(labels.shape)} of {labels.dtype}"
        )
    if logits.shape[1] < 2:
        raise ValueError(f"there must be two classes or more, got logits of shape {tuple(logits.shape)}")


def is_constant(values: Tensor, dim: int) -> Tensor:
    """Whether the values along an axis differ by rounding only: their spread is under 1e-6 of their size.

    Dividing such values by their spread would turn rounding into a signal and give gradients of millions, as for the
    equal logits of a freshly made classifier that starts at 0.

    Returns:
        Of the shape of the values, with the axis kept at length 1; no gradient flows through it.
    """
    values = values.detach()
    spread = (values - values.mean(dim, keepdim=True)).square().sum(dim, keepdim=True)
    return spread <= 1e-12 * values.square().sum(dim, keepdim=True)
