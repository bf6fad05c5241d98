"""Knowledge distillation by singular value decomposition (Lee, Kim and Song, ECCV 2018)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.losses.checks import at_least_float32
from understudy.losses.maps import check_maps

# Two squared singular values closer than this share of the largest count as equal.
EQUAL = 1e-3
# What the squared distance is divided by inside the exponential, as in the paper's code.
RBF_WIDTH = 8.0


class _Vectors(NamedTuple):
    """Leading right singular vectors in columns (batch, channels, num) and their squared values (batch, num)."""

    vectors: Tensor
    squares: Tensor


def svd_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], *, num_vectors: int = 1, num_extra: int = 3
) -> Tensor:
    r"""Compare how the leading singular vectors of consecutive stages correlate, in student and teacher.

    Each map is unfolded to (positions, channels); $v$ are its leading right singular vectors, of the student
    `num_extra` more than of the teacher. For each of the teacher's the student's most similar one is taken, with the
    sign that makes their cosine positive, and both are scaled by the teacher's singular values (of unit norm
    together). Between consecutive stages $a, b$ the correlation is $\exp(-(v_{b,c} - v_{a,d})^2 / 8)$ for all
    channels $c, d$; the loss is the squared difference of student and teacher, summed over channels, vectors and
    pairs of stages and averaged over the batch, as in RepDistiller.

    Where this differs from public code: mdistiller unfolds to (channels times height, width), another method. The
    sign of the teacher's vectors, on which the value depends, is left to the solver there; here a vector's elements
    have a sum of 0 or more. The vectors come from the Gram matrix of the channels, which is far smaller than the
    map. The gradient is the exact one by first-order perturbation, except that between two singular values whose
    squares differ by less than a thousandth of the largest none flows: there the vectors are not defined and the
    gradient of `torch.linalg.svd` explodes.

    Args:
        student: Maps (batch, channels, height, width) of two stages or more, from shallow to deep.
        teacher: As many, with the same channels at each stage; height and width may differ.
        num_vectors: Singular vectors of each teacher's map; 1 as in RepDistiller.
        num_extra: How many more of the student's map take part in the choice; 3 likewise.

    Returns:
        A scalar, 0 where the vectors agree.

    Raises:
        ValueError: There are fewer than two stages, they are no maps, the channels differ or are fewer than
            `num_vectors`.

    Paper: Lee, Kim and Song, Self-supervised Knowledge Distillation Using Singular Value Decomposition, ECCV 2018.
    """
    _check(student, teacher, num_vectors)
    pairs = [_aligned(ours, theirs, num_vectors, num_extra) for ours, theirs in zip(student, teacher, strict=True)]
    losses = [
        (_correlation(ours, ours_before) - _correlation(theirs, theirs_before)).square().sum()
        for (ours_before, theirs_before), (ours, theirs) in pairwise(pairs)
    ]
    return torch.stack(losses).sum() / len(student[0])


def _check(student: Sequence[Tensor], teacher: Sequence[Tensor], num_vectors: int) -> None:
    if len(student) < 2 or len(student) != len(teacher):
        raise ValueError(f"expected two stages or more on both sides, got {len(student)} and {len(teacher)}")
    check_maps(*student, *teacher)
    if num_vectors < 1:
        raise ValueError(f"num_vectors must be 1 or more, got {num_vectors}")
    for ours, theirs in zip(student, teacher, strict=True):
        if ours.shape[:2] != theirs.shape[:2] or ours.shape[1] < num_vectors:
            raise ValueError(
                f"student and teacher maps must have one batch size and the same channels, {num_vectors} or more, "
                f"got {tuple(ours.shape)} and {tuple(theirs.shape)}"
            )


def _aligned(student: Tensor, teacher: Tensor, num_vectors: int, num_extra: int) -> tuple[Tensor, Tensor]:
    """Scaled singular vectors of both sides, the student's chosen and turned to fit the teacher's."""
    target = _leading(teacher.detach(), num_vectors)
    upright = target.vectors * _sign(target.vectors.sum(1, keepdim=True))
    ours = _leading(student, num_vectors + num_extra).vectors
    cosine = (ours.detach().transpose(1, 2) @ upright.to(ours.dtype)).detach()
    best = cosine.abs().argmax(1, keepdim=True)
    chosen = ours.gather(2, best.expand(-1, ours.shape[1], -1)) * _sign(cosine.gather(1, best))
    singular = target.squares.clamp(min=0).sqrt()
    scale = torch.nn.functional.normalize(singular, dim=1).unsqueeze(1)
    return chosen * scale, upright * scale


def _leading(feature: Tensor, num: int) -> _Vectors:
    rows = at_least_float32(feature).flatten(2)
    gram = rows @ rows.transpose(1, 2)
    squares, vectors = torch.linalg.eigh(gram.detach())
    squares, vectors = squares.flip(1), vectors.flip(2)
    squares_leading, leading = squares[:, :num], vectors[:, :, :num]
    # Zero in value; its derivative turns each leading vector towards all others, as the Gram matrix changes.
    change = vectors.transpose(1, 2) @ (gram - gram.detach()) @ leading
    gap = squares_leading.unsqueeze(1) - squares.unsqueeze(2)
    defined = gap.abs() > EQUAL * squares[:, :1].unsqueeze(2)
    rate = torch.where(defined, 1 / torch.where(defined, gap, 1), 0)
    return _Vectors(leading + vectors @ (rate * change), squares_leading)


def _sign(values: Tensor) -> Tensor:
    return torch.where(values < 0, -1.0, 1.0).to(values.dtype)


def _correlation(vectors: Tensor, before: Tensor) -> Tensor:
    """(batch, channels, num) and (batch, channels before, num) -> (batch, channels, channels before, num)."""
    return torch.exp(-(vectors.unsqueeze(2) - before.unsqueeze(1)).square() / RBF_WIDTH)
