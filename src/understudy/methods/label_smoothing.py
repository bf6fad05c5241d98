"""Label smoothing (Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, CVPR 2016)."""

from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.label_smoothing import check_smoothing, smoothed_cross_entropy
from understudy.methods.base import Method, register
from understudy.methods.logits import labels_of
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("label-smoothing")
class LabelSmoothing(Method):
    """Cross-entropy with smoothed labels, in the place of the label loss, which is off; needs no teacher.

    Knowledge distillation from a teacher to whom all classes are alike, and what other methods that need no teacher
    are measured against. `label.smoothing` does the same to the label loss beside another method.

    Args:
        smoothing: Share of the target that is spread evenly over all classes; 0.1 as in the paper.
        weight: Weight of the term; 1, since nothing stands beside it.

    Raises:
        ValueError: The share is not between 0 and 1, or the weight is negative.
    """

    label_weight: ClassVar[float] = 0.0
    needs_labels: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False
    smoothing: Tensor

    def __init__(self, *, smoothing: float = 0.1, weight: Weight = 1.0) -> None:
        super().__init__({"label_smoothing": weight})
        check_smoothing(smoothing)
        self.register_buffer("smoothing", torch.tensor(float(smoothing)), persistent=False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `label_smoothing`."""
        return {"label_smoothing": smoothed_cross_entropy(student.logits, labels_of(batch), self.smoothing)}
