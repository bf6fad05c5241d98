"""Factor transfer (Kim, Park and Kwak, Paraphrasing Complex Network, NeurIPS 2018)."""

from torch import Tensor

from understudy.losses.checks import at_least_float32
from understudy.losses.maps import check_features
from understudy.losses.unit import unit


def factor_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""L1 distance of two factors, each normalised as a whole.

    $\| F_t / \|F_t\|_2 - F_s / \|F_s\|_2 \|_1$ of each image, averaged over batch and elements. The paper sums over
    elements; the mean is what the published weights of 200 and more go with. RepDistiller normalises the spatial
    attention of the factor (mean over channels of its square) and so compares one map of positions; the paper
    normalises the whole factor, which is followed here. A factor that is 0 everywhere stays 0.

    Args:
        student: The translator's output (batch, channels, ...).
        teacher: The paraphraser's, of the same shape.

    Returns:
        A scalar, 0 where both point in one direction.

    Raises:
        ValueError: The shapes differ.
    """
    check_features(student, teacher)
    ours = unit(at_least_float32(student).flatten(1))
    theirs = unit(at_least_float32(teacher.detach()).flatten(1))
    return (ours - theirs).abs().mean()
