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
