"""FitNets stage by stage (Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015)."""

from typing import Literal

import torch
from torch import Tensor

from understudy.losses.checks import check_temperature
from understudy.losses.hint import HintNorm
from understudy.losses.logit import soft_cross_entropy
from understudy.losses.spatial import check_choice
from understudy.methods.base import Facts, Stage, Taps, register
from understudy.methods.feature import Pairs
from understudy.methods.hint import HintMethod
from understudy.methods.weighting import Ramp, Weight
from understudy.types import Batch, Outputs, Terms

DECAY = Ramp(4.0, 1.0)


@register("fitnets")
class FitNets(HintMethod):
    """First the student's lower half learns the teacher's middle feature, then the whole student learns by KD.

    In the first stage only the student up to its guided layer and the regressor are trained, by the hint loss alone.
    In the second the loss is that of the labels plus the cross-entropy with the teacher's softened outputs, without a
    factor of the squared temperature, as the paper writes it; the regressor is idle.

    The hint loss on the validation split is logged in each epoch of the first stage. The second goes on from the last
    epoch, as in the authors' code, which stops the first stage when that loss no longer falls.

    The other regimes of the comparison are `first=labels second=labels` (plain training in two stages),
    `first=labels second=kd`, `first=hint second=labels`, and in one stage `method=hint` and `method=[hint,kd]`, or with
    `soft-ce` in place of `kd` for KD without the factor.

    Args:
        pairs: (student layer, teacher layer) names, summed over; None takes the pair in the middle.
        first: What the first stage learns from.
        second: What the second stage learns from besides the labels, if anything.
        hint_epochs: Length of the first stage; 30 as in the first stages of RepDistiller's methods, for the paper
            stops by a validation loss.
        norm: The hint loss is the `paper`'s half squared length of each image's difference, which grows with the size
            of the map, or the `mean` over all elements.
        temperature: Softens both sides in the second stage; 3 as in the paper.
        hint_weight: Weight of the hint loss; 100 for the mean is RepDistiller's and goes with the SGD rates used there.
            The paper has 1 for `paper`, with rates of its own: SGD at 0.05 leaves the regressor dead then.
        kd_weight: Weight of the soft targets; from 4 down to 1 over the second stage as in the paper.
        pretrained_lr_scale: Factor of the learning rate, in the second stage, of what the first has trained: the
            student up to its guided layer, or all of it after `first=labels`. 1 as in the authors' code without its
            option `--lr_scale`.

    Raises:
        ValueError: A setting is unknown, the first stage is shorter than an epoch, or a weight or the factor is
            negative.
    """

    temperature: Tensor

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        first: Literal["hint", "labels"] = "hint",
        second: Literal["kd", "labels"] = "kd",
        hint_epochs: int = 30,
        norm: HintNorm = "mean",
        temperature: float = 3.0,
        hint_weight: Weight = 100.0,
        kd_weight: Weight = DECAY,
        pretrained_lr_scale: float = 1.0,
    ) -> None:
        check_choice("first", first, ("hint", "labels"))
        check_choice("second", second, ("kd", "labels"))
        if hint_epochs < 1:
            raise ValueError(f"hint_epochs must be 1 or more, got {hint_epochs}")
        if not 0 <= pretrained_lr_scale < float("inf"):
            raise ValueError(f"pretrained_lr_scale must be 0 or more and finite, got {pretrained_lr_scale}")
        check_temperature(temperature)
        # The constructor of Method asks for the stages.
        self.first, self.second, self.hint_epochs = first, second, hint_epochs
        self.pretrained_lr_scale = pretrained_lr_scale
        hint = {"fitnets_hint": hint_weight} if first == "hint" else {}
        kd = {"fitnets_kd": kd_weight} if second == "kd" else {}
        super().__init__({**hint, **kd}, pairs=pairs, norm=norm)
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)

    def stages(self) -> tuple[Stage, ...]:
        """The first stage and `train`."""
        first = Stage(self.first, epochs=self.hint_epochs, labels=self.first == "labels")
        return first, Stage("train", lr_scale=self.pretrained_lr_scale)

    def taps(self) -> Taps:
        """The paired layers, if there are hints."""
        return super().taps() if self.first == "hint" else Taps()

    def setup(self, facts: Facts) -> None:
        """Build a regressor for each pair, if there are hints."""
        if self.first == "hint":
            super().setup(facts)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `fitnets_hint` in the first stage, `fitnets_kd` in the second; none where the labels do alone."""
        if self.stage == "hint":
            return {"fitnets_hint": self.hint(student, teacher)}
        if self.stage == "train" and self.second == "kd":
            return {"fitnets_kd": soft_cross_entropy(student.logits, teacher.logits, self.temperature)}
        return {}
