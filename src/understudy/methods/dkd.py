"""Decoupled knowledge distillation (Zhao, Cui, Song, Qiu and Liang, CVPR 2022)."""

from typing import ClassVar

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.dkd import decoupled_kd_losses
from understudy.methods.base import register
from understudy.methods.logits import LogitMethod, Logits, labels_of
from understudy.methods.weighting import Weight
from understudy.types import Batch, Terms


@register("dkd")
class DKD(LogitMethod):
    """Knowledge distillation whose parts on the true class and on all others are weighted apart.

    The published runs also raise both weights linearly over the first 20 epochs: for each, give
    `{start: 0.05, end: 1, to_epoch: 19}` times its weight (`Ramp`). It is no default, since a shorter training would
    never get out of it.

    Args:
        temperature: Softens both sides; 4 as in the paper's CIFAR-100 runs, 1 on ImageNet.
        target_weight: Weight of `dkd_target`, the paper's alpha; 1 in all its runs.
        nontarget_weight: Weight of `dkd_nontarget`, the paper's beta, which it chooses for each pair; 8 is mdistiller's
            default and the paper's for ResNet32x4 to ResNet8x4 and to ShuffleNets. 2 for ResNet56 to 20, 6 for wide
            ResNets and VGG; 0.5 for ResNet34 to 18 on ImageNet. The surer the teacher, the higher.
        logits: `standardized` for logit standardisation (see `understudy.methods.logits`).

    Raises:
        ValueError: The temperature is not above 0, or a weight is negative.
    """

    needs_labels: ClassVar[bool] = True
    temperature: Tensor

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        target_weight: Weight = 1.0,
        nontarget_weight: Weight = 8.0,
        logits: Logits = "raw",
    ) -> None:
        super().__init__({"dkd_target": target_weight, "dkd_nontarget": nontarget_weight}, logits=logits)
        check_temperature(temperature)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def compare(self, student: Tensor, teacher: Tensor, batch: Batch) -> Terms:
        """Terms `dkd_target` and `dkd_nontarget`."""
        losses = decoupled_kd_losses(student, teacher, labels_of(batch), self.temperature)
        return {"dkd_target": losses.target, "dkd_nontarget": losses.nontarget}
