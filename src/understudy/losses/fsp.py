"""Flow of the solution procedure: how one layer's channels lead to another's (Yim et al., CVPR 2017)."""

from torch import Tensor

from understudy.losses.checks import at_least_float32
from understudy.losses.spatial import Pooling, check_choice, check_pair, pool_to_smaller

Flow = tuple[Tensor, Tensor]
"""Maps at the two ends of a part of a network, each (batch, channels, height, width)."""


def fsp_matrix(start: Tensor, end: Tensor, *, pooling: Pooling = "mean") -> Tensor:
    r"""$G_{ij} = \frac{1}{HW} \sum_{hw} start_{ihw} \, end_{jhw}$, the larger map pooled to the smaller.

    Args:
        start: (batch, channels, height, width).
        end: (batch, other channels, any height, any width).
        pooling: `mean` as in RepDistiller; the paper takes `max`.

    Returns:
        (batch, channels, other channels), float32 or better.

    Raises:
        ValueError: They are not maps of one batch.
    """
    check_pair(start, end)
    check_choice("pooling", pooling, ("mean", "max"))
    pooled = pool_to_smaller(at_least_float32(start), at_least_float32(end), pooling=pooling)
    first, second = (values.flatten(2) for values in pooled)
    return first @ second.mT / first.shape[2]


def fsp_loss(student: Flow, teacher: Flow, *, pooling: Pooling = "mean") -> Tensor:
    r"""Squared difference of the FSP matrices of one part of the networks, averaged over elements and batch.

    The paper sums over the elements where this averages, as RepDistiller does.

    Args:
        student: Maps at the part's start and end.
        teacher: Likewise, with the same numbers of channels, of any size.
        pooling: As `fsp_matrix`.

    Returns:
        A scalar, 0 where the matrices are equal.

    Raises:
        ValueError: The numbers of channels or the batches differ.

    Paper: Yim et al., A Gift from Knowledge Distillation, CVPR 2017.
    """
    ours = fsp_matrix(*student, pooling=pooling)
    theirs = fsp_matrix(teacher[0].detach(), teacher[1].detach(), pooling=pooling)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"FSP matrices of student and teacher must have one shape (batch, start channels, end channels), "
            f"got {tuple(ours.shape)} and {tuple(theirs.shape)}"
        )
    return (ours - theirs).square().mean()
