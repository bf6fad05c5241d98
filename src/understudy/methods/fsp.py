"""Flow of the solution procedure (Yim et al., A Gift from Knowledge Distillation, CVPR 2017)."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.losses.fsp import fsp_loss
from understudy.losses.spatial import Pooling, check_choice
from understudy.matching import Match, Pair
from understudy.methods.base import Facts, Stage, Taps, register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


class FlowMethod(FeatureMethod):
    """A method that compares how each stage's channels lead to the next stage's.

    Args:
        weights: As `Method`.
        pairs: As `FeatureMethod`, two or more from shallow to deep.
        pooling: As `understudy.losses.fsp.fsp_matrix`.
    """

    def __init__(self, weights: Mapping[str, Weight], *, pairs: Pairs | None, pooling: Pooling) -> None:
        super().__init__(weights, pairs=pairs)
        check_choice("pooling", pooling, ("mean", "max"))
        self.pooling: Pooling = pooling

    def automatic(self, match: Match) -> tuple[Pair, ...]:
        """The flow begins at the stem."""
        return (*match.stem, *match.stages) if match.stages else ()

    def taps(self) -> Taps:
        """The paired layers.

        Raises:
            ValueError: There are fewer than two pairs.
        """
        taps = super().taps()
        if len(self.pairs) < 2:
            raise ValueError(f"FSP compares each pair of layers with the next and needs two or more, got {self.pairs}")
        return taps

    def setup(self, facts: Facts) -> None:
        """Check that the channels fit.

        Raises:
            UserError: A layer gives no map, or has another number of channels than its partner.
        """
        for (ours, theirs), (student, teacher) in zip(self.pairs, self.map_shapes(facts), strict=True):
            if student[0] != teacher[0]:
                raise UserError(
                    f"FSP needs maps with equal channels: student layer '{ours}' is {student}, teacher layer "
                    f"'{theirs}' is {teacher}; take a teacher of the student's width, other layers, or method=nst"
                )

    def flow(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The FSP loss, summed over the parts between consecutive layers."""
        parts = pairwise(self.paired(student, teacher))
        losses = [
            fsp_loss((ours, next_ours), (theirs, next_theirs), pooling=self.pooling)
            for (ours, theirs), (next_ours, next_theirs) in parts
        ]
        return torch.stack(losses).sum()


@register("fsp")
class FSP(FlowMethod):
    """First the student learns the teacher's flow from stage to stage, then the labels alone, as in the paper.

    Args:
        pairs: (student layer, teacher layer) names from shallow to deep; None takes what goes into the first blocks
            and the ends of the stages: three matrices for the ResNets of CIFAR, as in RepDistiller. Where one of the
            networks has no stem of a single convolution it takes the stages alone. Both must have equal channels there.
        init_epochs: Length of the first stage; 30 as in RepDistiller.
        pooling: How the larger map of two stages becomes as small as the other: `mean` as in RepDistiller, or the
            paper's `max`.
        weight: Weight of the term in the first stage; 1 as in the paper and in RepDistiller, whose `-b 50` has no
            effect.

    Raises:
        ValueError: The pooling is unknown, the first stage is shorter than an epoch, or the weight is negative.
    """

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        init_epochs: int = 30,
        pooling: Pooling = "mean",
        weight: Weight = 1.0,
    ) -> None:
        if init_epochs < 1:
            raise ValueError(f"init_epochs must be 1 or more, got {init_epochs}")
        # The constructor of Method asks for the stages.
        self.init_epochs = init_epochs
        super().__init__({"fsp": weight}, pairs=pairs, pooling=pooling)

    def stages(self) -> tuple[Stage, ...]:
        """`init` and `train`."""
        return Stage("init", epochs=self.init_epochs, labels=False), Stage("train")

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `fsp` in the first stage, nothing in the second."""
        return {"fsp": self.flow(student, teacher)} if self.stage == "init" else {}


@register("fsp-joint")
class JointFSP(FlowMethod):
    """The flow loss of `fsp` beside the labels, in one stage.

    Args:
        pairs: As `fsp`.
        pooling: As `fsp`.
        weight: Weight of the term; 50, which RepDistiller's scripts name but do not use.

    Raises:
        ValueError: The pooling is unknown, or the weight is negative.
    """

    def __init__(self, *, pairs: Pairs | None = None, pooling: Pooling = "mean", weight: Weight = 50.0) -> None:
        super().__init__({"fsp_joint": weight}, pairs=pairs, pooling=pooling)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `fsp_joint`."""
        return {"fsp_joint": self.flow(student, teacher)}
