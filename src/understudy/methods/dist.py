"""Distillation from a stronger teacher (Huang, You, Wang, Qian and Xu, NeurIPS 2022)."""

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.dist import correlation_losses
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits
from understudy.methods.relation import whole_batch
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("dist")
class DIST(LogitMethod):
    """Match the correlations of probabilities within each image and within each class over the batch.

    Args:
        temperature: Softens both sides; 4 as in the authors' CIFAR-100 runs, 1 on ImageNet.
        inter_weight: Weight of `dist_inter`, the paper's beta; 2 beside a label loss of 1.
        intra_weight: Weight of `dist_intra`, the paper's gamma; 2 as well.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: The temperature is not above 0, or a weight is negative.
    """

    relates_images = True
    temperature: Tensor

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        inter_weight: Weight = 2.0,
        intra_weight: Weight = 2.0,
        logits: Logits = "raw",
    ) -> None:
        super().__init__({"dist_inter": inter_weight, "dist_intra": intra_weight}, logits=logits)
        check_temperature(temperature)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Terms `dist_inter` and `dist_intra`."""
        losses = correlation_losses(whole_batch(student), whole_batch(teacher.detach()), self.temperature)
        return {"dist_inter": losses.inter, "dist_intra": losses.intra}
