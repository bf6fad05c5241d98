"""Knowledge Distillation with the Reused Teacher Classifier (Chen, Mei, Zhang, Wang, Feng and Chen, CVPR 2022)."""

from copy import deepcopy
from typing import ClassVar

from torch import nn

from understudy.adapters import Shape
from understudy.classifier import Classifier
from understudy.errors import UserError
from understudy.losses.hint import hint_loss
from understudy.losses.spatial import pool_to_smaller
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs, Where
from understudy.methods.weighting import Weight
from understudy.models.head import head_of
from understudy.models.saved import UNNAMED
from understudy.taps import network_of
from understudy.types import Batch, Outputs, Terms


@register("simkd")
class SimKD(FeatureMethod):
    """Learn the teacher's last map through a projector, and answer with the teacher's own classifier.

    No label is used. After training the student keeps the projector behind the tapped layer and has the teacher's
    head in place of its own; that is what is validated and saved. During training its own head is not trained, so the
    accuracy on the training batches says nothing. Between the tapped layer and the head a network may have only
    layers without weights: pooling, activations, dropout.

    Args:
        pairs: One (student layer, teacher layer) of maps; None takes the last maps, which the heads pool.
        reduction: Width of the projector's 3x3 convolution: the teacher's channels divided by this; 2 as in the
            authors' code.
        weight: Weight of the term: squared difference of maps, averaged over all elements; 1 as in the paper, with a
            label loss of weight 0.

    Raises:
        ValueError: The reduction is below 1, or the weight is negative.
    """

    label_weight: ClassVar[float] = 0.0
    alone: ClassVar[bool] = True
    where: ClassVar[Where] = "final"

    def __init__(self, *, pairs: Pairs | None = None, reduction: int = 2, weight: Weight = 1.0) -> None:
        super().__init__({"simkd": weight}, pairs=pairs)
        if reduction < 1:
            raise ValueError(f"reduction must be 1 or more, got {reduction}")
        if pairs is not None and len(pairs) != 1:
            raise ValueError(f"SimKD joins one pair of layers, got {len(pairs)}")
        self.reduction = reduction

    def setup(self, facts: Facts) -> None:
        """Build the projector and copy the teacher's head.

        Raises:
            UserError: The layers are no maps, a head does not take what the tapped layer gives, or the classes differ.
        """
        ((ours, theirs),) = self.pairs
        student, teacher = facts.student[ours], facts.teacher[theirs]
        assert facts.student_network is not None
        if facts.teacher_network is None:
            raise UserError("simkd reuses the teacher's head: it needs one teacher with the student's classes in order")
        if len(student) != 3 or len(teacher) != 3:
            raise UserError(f"simkd reads maps, but '{ours}' and '{theirs}' have shapes {student} and {teacher}")
        _head(facts.student_network, ours, student[0])
        head = _head(facts.teacher_network, theirs, teacher[0])
        if head.out_features != facts.num_classes:
            raise UserError(
                f"simkd reuses the teacher's head, which knows {head.out_features} classes, not {facts.num_classes}"
            )
        self.projector = _projector(student, teacher, self.reduction)
        self.head = deepcopy(head).requires_grad_(False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `simkd`."""
        ((ours, theirs),) = self.paired(student, teacher)
        return {"simkd": hint_loss(*pool_to_smaller(self.projector(ours), theirs))}

    def deploy(self, student: nn.Module) -> nn.Module:
        """The student up to the tapped layer, the projector, and the teacher's head."""
        network = network_of(student)
        layer = self.pairs[0][0]
        network.set_submodule(head_of(network), deepcopy(self.head).requires_grad_(True))
        network.set_submodule(layer, nn.Sequential(network.get_submodule(layer), deepcopy(self.projector)))
        if isinstance(student, Classifier):
            # No longer the architecture of that name.
            student.name, student.settings = UNNAMED, {}
        return student


def _head(network: nn.Module, layer: str, channels: int) -> nn.Linear:
    path = head_of(network)
    head = network.get_submodule(path)
    if not isinstance(head, nn.Linear) or head.in_features != channels:
        raise UserError(
            f"simkd needs the last map before the head: '{layer}' has {channels} channels, "
            f"which is not what '{path}' takes"
        )
    return head


def _projector(student: Shape, teacher: Shape, reduction: int) -> nn.Module:
    """Three convolutions, behind average pooling where the student's map is larger."""
    width = max(1, teacher[0] // reduction)
    size = (min(student[1], teacher[1]), min(student[2], teacher[2]))
    pool = [nn.AdaptiveAvgPool2d(size)] if size != tuple(student[1:]) else []
    steps = [(student[0], width, 1), (width, width, 3), (width, teacher[0], 1)]
    return nn.Sequential(*pool, *[_layer(*step) for step in steps])


def _layer(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())
