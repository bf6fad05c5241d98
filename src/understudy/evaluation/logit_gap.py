"""How far a student's logits are from its teacher's."""

from typing import NamedTuple

from torch import Tensor


class LogitGap(NamedTuple):
    """The distance of logits, averaged over images and classes.

    Attributes:
        plain: |teacher - student|.
        centred: The same after the mean of each image's logits was taken off, which changes no probability.
    """

    plain: float
    centred: float


def logit_gap(student: Tensor, teacher: Tensor) -> LogitGap:
    """Compare the logits of a whole split; as a mean over images it depends on no batch.

    Args:
        student: (images, classes).
        teacher: (images, classes), of the same images in the same order.

    Raises:
        ValueError: The shapes differ, or there is no image.
    """
    if student.shape != teacher.shape or not student.numel():
        raise ValueError(
            f"need logits of the same images, got shapes {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    difference = teacher.double() - student.double()
    centred = difference - difference.mean(1, keepdim=True)
    return LogitGap(difference.abs().mean().item(), centred.abs().mean().item())
