"""A Comprehensive Overhaul of Feature Distillation (Heo, Kim, Yun, Park, Kwak and Choi, ICCV 2019)."""

from torch import Tensor, nn

from understudy.adapters import Shape, connector
from understudy.dataflow import Flow
from understudy.losses.partial import measured_margin, normal_margin, partial_l2_loss
from understudy.methods.base import Facts, register
from understudy.methods.feature import Pairs
from understudy.methods.preactivation import PreactivationMethod, halved_upwards
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("ofd")
class OFD(PreactivationMethod):
    """Match the teacher's pre-activations where they matter: a response that is cut off anyway may be any negative.

    The teacher's responses are clipped from below at a margin, the mean of the negative ones of each channel. It
    follows from weight and bias of the BatchNorm whose output the teacher's layer gives, as in the paper; of a sum it
    is the BatchNorm that ends the residual branch, the shortcut left out, as in the authors' code. Where there is none
    it is measured on the images that `Distiller.setup` was given; `notes` says what was done for each layer. The
    margins are buffers and go into checkpoints. In public code the teacher is in training mode and its BatchNorm
    statistics drift; here it is frozen.

    Args:
        pairs: (student layer, teacher layer) names of pre-activations; None takes the ends of the stages before
            their activation, in pre-activation networks the BatchNorm behind them, as the authors do.
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
            UserError: A layer gives no map.
        """
        super().setup(facts)
        flow = facts.teacher_flow() if facts.teacher_flow else None
        notes: list[str] = []
        for number, (_, layer) in enumerate(self.pairs):
            norm = _norm(flow, layer)
            if norm is None:
                margin, source = measured_margin(facts.teacher_features[layer]), "measured on a few images"
            else:
                path, bias, weight = norm
                margin, source = normal_margin(bias.detach(), weight.detach().abs()), f"of BatchNorm {path}"
            self.register_buffer(f"margin_{number}", margin)
            notes.append(f"{layer} {source}")
        self.notes = (f"OFD margins of the teacher's layers: {', '.join(notes)}",)

    def connector(self, student: Shape, teacher: Shape) -> nn.Module:
        """A 1x1 convolution with BatchNorm, as the authors start it, also for equal shapes."""
        layers = connector(student, teacher)
        for convolution in (layer for layer in layers.modules() if isinstance(layer, nn.Conv2d)):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        return layers

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `ofd`."""
        losses = [
            partial_l2_loss(ours, theirs, self.get_buffer(f"margin_{number}"))
            for number, (ours, theirs) in enumerate(self.connected(student, teacher))
        ]
        return {"ofd": halved_upwards(losses)}


def _norm(flow: Flow | None, layer: str) -> tuple[str, Tensor, Tensor] | None:
    """Path, bias and weight of the BatchNorm that a layer's output comes from."""
    call = flow.norm_of(layer) if flow else None
    bias, weight = (getattr(call.module, name) for name in ("bias", "weight")) if call else (None, None)
    return None if call is None or bias is None or weight is None else (call.path, bias, weight)
