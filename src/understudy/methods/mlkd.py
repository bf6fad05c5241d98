"""Multi-level logit distillation (Jin, Wang and Lin, CVPR 2023)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.multi_level import TEMPERATURES, multi_level_losses
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits
from understudy.methods.relation import whole_batch
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("mlkd")
class MLKD(LogitMethod):
    """Match images, correlations of classes and correlations of images, at several temperatures at once.

    The paper's losses on one view of each image. The published figures are not those of this term: they come from the
    authors' code, which trains for 480 epochs and shows each image twice in a batch, the second time strongly augmented
    (RandAugment and cutout), with the label loss and losses on the logits of both views. Batches here hold one view of
    each image, as augmented as `data.augment` says. What else the code does otherwise stands in
    `understudy.losses.multi_level`.

    Args:
        temperatures: Summed over; 2 to 6 as in the authors' code.
        instance_weight: Weight of `mlkd_instance`; 0.9 beside a label loss of 0.1 as in the authors' code, which takes
            them from mdistiller's `kd`. The paper adds its three parts up unweighted.
        class_weight: Weight of `mlkd_class`; 0.9 too.
        batch_weight: Weight of `mlkd_batch`; 0.9 too.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: There is no temperature, one is not above 0, or a weight is negative.
    """

    label_weight: ClassVar[float] = 0.1
    relates_images = True
    temperatures: Tensor

    def __init__(
        self,
        *,
        temperatures: Sequence[float] = TEMPERATURES,
        instance_weight: Weight = 0.9,
        class_weight: Weight = 0.9,
        batch_weight: Weight = 0.9,
        logits: Logits = "raw",
    ) -> None:
        weights = {"mlkd_instance": instance_weight, "mlkd_class": class_weight, "mlkd_batch": batch_weight}
        super().__init__(weights, logits=logits)
        if not temperatures:
            raise ValueError("temperatures must be one or more numbers, got none")
        for temperature in temperatures:
            check_temperature(temperature)
        self.register_buffer("temperatures", torch.tensor([float(t) for t in temperatures]), persistent=False)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Terms `mlkd_instance`, `mlkd_class` and `mlkd_batch`."""
        losses = multi_level_losses(whole_batch(student), whole_batch(teacher.detach()), self.temperatures)
        return {"mlkd_instance": losses.instance, "mlkd_class": losses.classes, "mlkd_batch": losses.batch}
