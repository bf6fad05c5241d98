"""Weighted soft labels (Zhou, Song, Chen, Zhou, Wang, Yuan and Zhang, ICLR 2021)."""

from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.wsld import image_weights, weighted_kd_loss
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits, labels_of
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("wsld")
class WSLD(LogitMethod):
    """Knowledge distillation in which images that the student already knows better than the teacher count less.

    On standardised logits the weights of the images still come from the raw ones: they say who knows the label better,
    in the cross-entropy that the label loss has too, and standardisation would cap the surer of both. No publication
    combines the two.

    Args:
        temperature: Softens both sides; 2 as in the authors' ImageNet runs.
        weight: Weight of the term; 2.5 beside a label loss of 1 in the same runs.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: The temperature is not above 0, or the weight is negative.
    """

    needs_labels: ClassVar[bool] = True
    temperature: Tensor

    def __init__(self, *, temperature: float = 2.0, weight: Weight = 2.5, logits: Logits = "raw") -> None:
        super().__init__({"wsld": weight}, logits=logits)
        check_temperature(temperature)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `wsld`."""
        weights = image_weights(student.logits, teacher.logits, labels_of(batch))
        return {"wsld": weighted_kd_loss(*self.compared(student, teacher), weights, self.temperature)}
