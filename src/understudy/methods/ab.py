"""Knowledge Transfer via Distillation of Activation Boundaries (Heo, Lee, Yun and Choi, AAAI 2019)."""

import torch
from torch import Tensor, nn

from understudy.adapters import Shape, signed_regressor
from understudy.losses.boundary import boundary_loss
from understudy.methods.base import Stage, register
from understudy.methods.feature import Pairs
from understudy.methods.preactivation import PreactivationMethod, halved_upwards
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms

INIT = "init"


@register("ab")
class AB(PreactivationMethod):
    """Start the student where its neurons are active when the teacher's are; then train it on labels alone.

    The term exists in the first stage only, which trains the student up to the deepest pair. Add `kd` for soft
    targets in the second stage, as the paper does.

    As in RepDistiller, maps of one shape are compared as they are; others go through a connector, a convolution with
    BatchNorm that is the regressor of FitNets without its ReLU. Its convolution has a bias there and here, which does
    nothing in front of BatchNorm.

    Args:
        pairs: (student layer, teacher layer) names of pre-activations; None takes the ends of the stages before
            their activation, in pre-activation networks the BatchNorm behind them, as RepDistiller does.
        margin: How far on the right side of 0 a pre-activation should be; 1 as in RepDistiller.
        init_epochs: Length of the first stage; 30 as in RepDistiller.
        weight: Weight of `ab`: sums over channels and positions, averaged over the batch, added up over pairs with
            weights 1/4, 1/2, 1. RepDistiller multiplies by 3/1000, which is the default.

    Raises:
        ValueError: The margin is not above 0, the first stage has no epoch, or the weight is negative.
    """

    margin: Tensor

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        margin: float = 1.0,
        init_epochs: int = 30,
        weight: Weight = 0.003,
    ) -> None:
        if not margin > 0:
            raise ValueError(f"margin must be above 0, got {margin}")
        if init_epochs < 1:
            raise ValueError(f"init_epochs must be 1 or more, got {init_epochs}")
        # Before the rest, which asks for the stages.
        self.init_epochs = init_epochs
        super().__init__({"ab": weight}, pairs=pairs)
        self.register_buffer("margin", torch.tensor(float(margin)), persistent=False)

    def stages(self) -> tuple[Stage, ...]:
        """The boundaries, then the labels."""
        return Stage(INIT, epochs=self.init_epochs, labels=False), Stage("train")

    def connector(self, student: Shape, teacher: Shape) -> nn.Module:
        """Nothing for equal shapes."""
        return nn.Identity() if student == teacher else signed_regressor(student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `ab` in the first stage, none in the second."""
        if self.stage != INIT:
            return {}
        losses = [boundary_loss(ours, theirs, self.margin) for ours, theirs in self.connected(student, teacher)]
        return {"ab": halved_upwards(losses)}
