"""Teacher-free distillation (Yuan, Tay, Li, Wang and Feng, Revisiting KD via Label Smoothing, CVPR 2020)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.virtual import (
    calibrated_virtual_loss,
    check_confidence,
    published_virtual_loss,
    softened_virtual_loss,
)
from understudy.methods.base import Method, register
from understudy.methods.logits import labels_of
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms

Variant = Literal["published", "both", "calibrated"]
# As the authors' code has it for ResNet-18.
TEMPERATURE = 20.0


@register("tf-kd")
class TfKD(Method):
    """Learn from a virtual teacher that is made from the label: Tf-KD of the authors' code, or one of two variants.

    The published variants apply a softmax to probabilities, so that their teacher is next to uniform and the student
    underconfident. The calibrated one is label smoothing in other words.

    Args:
        variant: `published`: the teacher is softened, the student is not, no squared temperature (the authors' code);
            `both`: both are softened, times the squared temperature (KD_Lib, distillistic); `calibrated`: the teacher's
            probabilities as they are (distillistic's proposal).
        confidence: Probability that the teacher gives the true class; .99 in the authors' code, .9 in distillistic.
        temperature: Softens the teacher; None is 20, as in the authors' code for ResNet-18. `calibrated` has none.
        weight: Weight of the term; 0.1 is the authors' alpha of .1 times their multiplier of 100, divided by the 100
            classes over which they average. It stands beside a label loss of 0.9.

    Raises:
        ValueError: The variant is unknown, the confidence is not above 0 and at most 1, the temperature is not above 0
            or given where there is none, or the weight is negative.
    """

    label_weight: ClassVar[float] = 0.9
    needs_labels: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False
    confidence: Tensor
    temperature: Tensor

    def __init__(
        self,
        *,
        variant: Variant = "published",
        confidence: float = 0.99,
        temperature: float | None = None,
        weight: Weight = 0.1,
    ) -> None:
        super().__init__({"tf_kd": weight})
        if variant not in ("published", "both", "calibrated"):
            raise ValueError(f"variant must be published, both or calibrated, got {variant!r}")
        if variant == "calibrated" and temperature is not None:
            raise ValueError(f"variant calibrated softens nothing: leave out temperature, got {temperature}")
        check_confidence(confidence)
        softening = TEMPERATURE if temperature is None else temperature
        check_temperature(softening)
        self.variant = variant
        self.register_buffer("confidence", torch.tensor(float(confidence)), persistent=False)
        self.register_buffer("temperature", torch.tensor(float(softening)), persistent=False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `tf_kd`."""
        seen = student.logits, labels_of(batch), self.confidence
        if self.variant == "calibrated":
            return {"tf_kd": calibrated_virtual_loss(*seen)}
        loss = published_virtual_loss if self.variant == "published" else softened_virtual_loss
        return {"tf_kd": loss(*seen, self.temperature)}
