"""Hints beside the other terms (Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015), as in RepDistiller."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from understudy.adapters import regressor
from understudy.losses.hint import HintNorm, hint_loss
from understudy.losses.spatial import check_choice
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


class HintMethod(FeatureMethod):
    """A method with a regressor on each of its student layers, which is left behind when the student is exported.

    Args:
        weights: As `Method`.
        pairs: As `FeatureMethod`.
        norm: As `understudy.losses.hint.hint_loss`.
    """

    where = "middle"

    def __init__(self, weights: Mapping[str, Weight], *, pairs: Pairs | None, norm: HintNorm) -> None:
        super().__init__(weights, pairs=pairs)
        check_choice("norm", norm, ("mean", "paper"))
        self.norm: HintNorm = norm
        self.regressors = nn.ModuleList()

    def setup(self, facts: Facts) -> None:
        """Build a regressor for each pair."""
        pairs = zip(*self.taps(), strict=True)
        self.regressors = nn.ModuleList(regressor(facts.student[ours], facts.teacher[theirs]) for ours, theirs in pairs)

    def hint(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The hint loss, summed over the pairs."""
        losses = [
            hint_loss(adapter(ours), theirs, norm=self.norm)
            for adapter, (ours, theirs) in zip(self.regressors, self.paired(student, teacher), strict=True)
        ]
        return torch.stack(losses).sum()


@register("hint")
class Hint(HintMethod):
    """Match the teacher's middle feature by a regressor on the student's, together with the labels.

    Two of the regimes that `fitnets` is compared with: `method=hint` is hint and labels jointly, `method=[hint,kd]`
    hint and KD jointly. `fitnets` has those in stages.

    Args:
        pairs: (student layer, teacher layer) names, summed over; None takes the pair in the middle.
        norm: `mean` over all elements as in RepDistiller, or the `paper`'s half squared length of each image's
            difference.
        weight: Weight of the term; 100 as in RepDistiller and mdistiller. For `paper` take 1 or less.

    Raises:
        ValueError: The norm is unknown, or the weight is negative.
    """

    def __init__(self, *, pairs: Pairs | None = None, norm: HintNorm = "mean", weight: Weight = 100.0) -> None:
        super().__init__({"hint": weight}, pairs=pairs, norm=norm)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `hint`."""
        return {"hint": self.hint(student, teacher)}
