"""Knowledge Distillation with the Reused Teacher Classifier (Chen, Mei, Zhang, Wang, Feng and Chen, CVPR 2022)."""

from collections.abc import Sequence
from copy import deepcopy
from typing import ClassVar

from torch import nn

from understudy.classifier import Change
from understudy.errors import UserError
from understudy.losses.hint import hint_loss
from understudy.losses.spatial import pool_to_smaller
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs, Where
from understudy.methods.weighting import Weight
from understudy.models.changes import note_change
from understudy.models.head import head_of
from understudy.models.reused_head import REUSED_HEAD, make_projector, reuse_head
from understudy.taps import network_of
from understudy.types import Batch, Outputs, Terms


@register("simkd")
class SimKD(FeatureMethod):
    """Learn the teacher's last map through a projector, and answer with the teacher's own classifier.

    No label is used. After training the student keeps the projector behind the tapped layer and has the teacher's
    head in place of its own; that is what is validated and saved. During training its own head is not trained, so the
    accuracy on the training batches says nothing. Between the tapped layer and the head a network may have only
    layers without weights: pooling, activations, dropout. Of a teacher that knows the classes in another order, or
    more of them, the rows of the student's classes are taken; a temperature fitted to it has no part in its head.

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
            UserError: There are several teachers, the layers are no maps, a head does not take what the tapped layer
                gives, or the classes differ.
        """
        ((ours, theirs),) = self.pairs
        student, teacher = facts.student[ours], facts.teacher[theirs]
        assert facts.student_network is not None
        if facts.teacher_network is None:
            raise UserError("simkd reuses the head of one teacher, not of several: learn from one member, teacher=RUN")
        if len(student) != 3 or len(teacher) != 3:
            raise UserError(f"simkd reads maps, but '{ours}' and '{theirs}' have shapes {student} and {teacher}")
        if ours.endswith(":input"):
            raise UserError(f"simkd puts its projector behind a layer of the student, not at '{ours}': name a layer")
        _head(facts.student_network, ours, student[0])
        head = _chosen(_head(facts.teacher_network, theirs, teacher[0]), facts.teacher_groups)
        if head.out_features != facts.num_classes:
            raise UserError(
                f"simkd reuses the teacher's head, which knows {head.out_features} classes, not {facts.num_classes}"
            )
        self.projector = make_projector(student, teacher, self.reduction)
        self.head = head.requires_grad_(False)
        settings = {"layer": ours, "student": list(student), "teacher": list(teacher), "reduction": self.reduction}
        settings |= {"classes": head.out_features, "bias": "bias" in dict(head.named_parameters())}
        self.change = Change(REUSED_HEAD, settings)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `simkd`."""
        ((ours, theirs),) = self.paired(student, teacher)
        return {"simkd": hint_loss(*pool_to_smaller(self.projector(ours), theirs))}

    def deploy(self, student: nn.Module) -> nn.Module:
        """The student up to the tapped layer, the projector, and the teacher's head."""
        head = deepcopy(self.head).requires_grad_(True)
        reuse_head(network_of(student), self.pairs[0][0], deepcopy(self.projector), head)
        note_change(student, self.change)
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


def _chosen(head: nn.Linear, groups: Sequence[Sequence[int]] | None) -> nn.Linear:
    """A copy of a head with the rows of one class of each group, in this order."""
    copy = deepcopy(head)
    if groups is None:
        return copy
    if any(len(group) > 1 for group in groups):
        raise UserError(
            "simkd reuses the teacher's head, which has no row for several classes together: "
            "give each class of the student one class of the teacher"
        )
    rows = [group[0] for group in groups]
    copy.out_features = len(rows)
    for name, values in head.named_parameters():
        setattr(copy, name, nn.Parameter(values.detach()[rows]))
    return copy
