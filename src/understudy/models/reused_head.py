"""A network that answers with the head of another one, behind a projector.

The structure is that of Knowledge Distillation with the Reused Teacher Classifier (Chen et al., CVPR 2022).
"""

from collections.abc import Sequence

from torch import nn

from understudy.models.changes import register_change
from understudy.models.head import head_of

REUSED_HEAD = "reused-head"


def reuse_head(network: nn.Module, layer: str, projector: nn.Module, head: nn.Linear) -> None:
    """Put a projector behind a layer, and another head in the place of the network's own.

    Args:
        network: Changed in place.
        layer: Module path of the layer, which gives maps.
        projector: The layer's maps -> maps with the channels that the head takes.
        head: Takes the pooled maps.
    """
    network.set_submodule(head_of(network), head)
    network.set_submodule(layer, nn.Sequential(network.get_submodule(layer), projector))


@register_change(REUSED_HEAD)
def rebuild_reused_head(
    network: nn.Module,
    *,
    layer: str,
    student: Sequence[int],
    teacher: Sequence[int],
    reduction: int,
    classes: int,
    bias: bool,
) -> None:
    """Repeat `reuse_head` with fresh weights.

    Args:
        network: Changed in place.
        layer: As `reuse_head`.
        student: As `make_projector`.
        teacher: As `make_projector`.
        reduction: As `make_projector`.
        classes: Number of logits of the head.
        bias: Whether the head has a bias.
    """
    head = nn.Linear(teacher[0], classes, bias=bias)
    reuse_head(network, layer, make_projector(student, teacher, reduction), head)


def make_projector(student: Sequence[int], teacher: Sequence[int], reduction: int) -> nn.Sequential:
    """Three convolutions, behind average pooling where the student's map is larger.

    Args:
        student: (channels, height, width) of the student's map.
        teacher: Of the teacher's.
        reduction: Width of the 3x3 convolution: the teacher's channels divided by this.
    """
    width = max(1, teacher[0] // reduction)
    steps = [(student[0], width, 1), (width, width, 3), (width, teacher[0], 1)]
    return nn.Sequential(*_pool(student[1:], teacher[1:]), *[_layer(*step) for step in steps])


def _pool(ours: Sequence[int], theirs: Sequence[int]) -> list[nn.Module]:
    size = (min(ours[0], theirs[0]), min(ours[1], theirs[1]))
    if size == tuple(ours):
        return []
    if ours[0] % size[0] or ours[1] % size[1]:
        return [nn.AdaptiveAvgPool2d(size)]
    # The same, with a gradient that is deterministic on CUDA.
    return [nn.AvgPool2d((ours[0] // size[0], ours[1] // size[1]))]


def _layer(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())
