"""A Comprehensive Overhaul of Feature Distillation (Heo, Kim, Yun, Park, Kwak and Choi, ICCV 2019)."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]  # no public common class

from understudy.losses.partial import measured_margin, normal_margin, partial_l2_loss
from understudy.methods.base import Facts, register
from understudy.methods.feature import Pairs
from understudy.methods.preactivation import PreactivationMethod, halved_upwards
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("ofd")
class OFD(PreactivationMethod):
    """Match the teacher's pre-activations where they matter: a response that is cut off anyway may be any negative.

    The teacher's responses are clipped from below at a margin, the mean of the negative ones of each channel. Where
    the teacher's layer is a BatchNorm it follows from weight and bias, as in the paper; elsewhere, behind a sum for
    one, it is measured on the images that `Distiller.setup` was given. The margins are buffers and go into
    checkpoints. In public code the teacher is in training mode and its BatchNorm statistics drift; here it is frozen.

    Args:
        pairs: (student layer, teacher layer) names of pre-activations; None takes the ends of the stages before
            their last activation.
        weight: Weight of `ofd`: sums over channels and positions, averaged over the batch, added up over pairs with
            weights 1/4, 1/2, 1. 0.001 as in the authors' CIFAR-100 runs, 0.0001 on ImageNet.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, *, pairs: Pairs | None = None, weight: Weight = 1e-3) -> None:
        super().__init__({"ofd": weight}, pairs=pairs)

    def setup(self, facts: Facts) -> None:
        """Build the connectors and find the margins.

        Raises:
            ValueError: A pair is not of two maps.
        """
        super().setup(facts)
        for number, (_, layer) in enumerate(self.pairs):
            self.register_buffer(f"margin_{number}", _margin(facts, layer))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `ofd`."""
        losses = [
            partial_l2_loss(ours, theirs, self.get_buffer(f"margin_{number}"))
            for number, (ours, theirs) in enumerate(self.connected(student, teacher))
        ]
        return {"ofd": halved_upwards(losses)}


def _margin(facts: Facts, layer: str) -> Tensor:
    module = _output_of(facts.teacher_network, layer)
    if isinstance(module, _BatchNorm) and module.affine:
        return normal_margin(module.bias.detach(), module.weight.detach().abs())
    return measured_margin(facts.teacher_features[layer])


def _output_of(network: nn.Module | None, layer: str) -> nn.Module | None:
    return None if network is None or layer.endswith(":input") else network.get_submodule(layer)
