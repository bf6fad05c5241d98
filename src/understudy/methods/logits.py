"""What methods that compare logits have in common."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from understudy.losses.logit import standardize
from understudy.methods.base import Method
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms

Logits = Literal["raw", "standardized"]
"""`standardized`: each image's logits minus their mean, divided by their standard deviation, on both sides."""


class LogitMethod(Method):
    """A method that reads logits only; logit standardisation composes with any of them.

    Args:
        weights: As `Method`.
        logits: `standardized` for logit standardisation (Sun et al., CVPR 2024).
    """

    def __init__(self, weights: Mapping[str, Weight], *, logits: Logits = "raw") -> None:
        super().__init__(weights)
        if logits not in ("raw", "standardized"):
            raise ValueError(f"logits must be raw or standardized, got {logits!r}")
        self.logits = logits

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Named scalar terms of the loss, before weighting."""
        return self.compare(*self.compared(student, teacher), batch)

    def compared(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The logits of both sides (batch, classes), standardised where that was asked for."""
        ours, theirs = student.logits, teacher.logits
        return (ours, theirs) if self.logits == "raw" else (standardize(ours), standardize(theirs))

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Named scalar terms of logits (batch, classes) that are already standardised where that was asked for."""
        raise NotImplementedError


def labels_of(batch: Batch) -> Tensor:
    """The labels of a batch, for a method that cannot do without.

    Raises:
        ValueError: The images are unlabelled.
    """
    if batch.label is None:
        raise ValueError("this method needs the label of each image, and the batch has none")
    return batch.label
