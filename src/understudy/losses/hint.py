"""Hints: a student's feature, brought to the teacher's shape, is to be the teacher's (FitNets, ICLR 2015)."""

from typing import Literal

from torch import Tensor

from understudy.losses.checks import at_least_float32
from understudy.losses.maps import check_features
from understudy.losses.spatial import check_choice

HintNorm = Literal["mean", "paper"]


def hint_loss(student: Tensor, teacher: Tensor, *, norm: HintNorm = "mean") -> Tensor:
    r"""Squared distance of features.

    `paper` is $\frac{1}{2} \|f_s - f_t\|^2$, summed over all elements of an image and averaged over the batch: it
    grows with the size of the feature. `mean` is the mean over all elements and images, as in RepDistiller and
    mdistiller; for features of N elements it is 2 / N of the paper's.

    Args:
        student: (batch, ...), already through its regressor.
        teacher: As `student`.
        norm: The reduction.

    Returns:
        A scalar, 0 where both are equal.

    Raises:
        ValueError: The shapes differ, the batch is empty, or the norm is unknown.

    Paper: Romero, Ballas, Kahou, Chassang, Gatta and Bengio, FitNets: Hints for Thin Deep Nets, ICLR 2015.
    """
    check_features(student, teacher)
    check_choice("norm", norm, ("mean", "paper"))
    squares = (at_least_float32(student) - at_least_float32(teacher.detach())).square()
    return squares.mean() if norm == "mean" else squares.flatten(1).sum(1).mean() / 2
