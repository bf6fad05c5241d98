"""Losses between the similarities that student and teacher see among samples, or among channels.

Student and teacher may differ in width, since only Gram matrices are compared. No gradient flows into the teacher's
features. Half precision is computed in float32. Samples whose feature is 0 are similar to none and get no gradient.
"""

import math

import torch
from torch import Tensor

from understudy.losses.checks import at_least_float32, check_vectors
from understudy.losses.spatial import check_pair
from understudy.losses.unit import unit

# As in the authors' code of PKT and in RepDistiller.
PKT_EPSILON = 1e-7


def sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Similarity-preserving distillation: squared difference of row-normalised Gram matrices of the samples.

    $\frac{1}{B^2} \sum_{ij} (G^t_{ij} / \|G^t_i\| - G^s_{ij} / \|G^s_i\|)^2$ with $G = F F^T$ of the flattened
    features: the sum over the squared batch size, as in the paper and in RepDistiller. Since a row has unit length,
    the value falls as 1 / B: the usual weight of 3000 belongs to a batch of 64.

    Args:
        student: (batch, ...), flattened.
        teacher: (batch, ...), of any size.

    Returns:
        A scalar, 0 where the similarities are equal up to the scale of each row.

    Raises:
        ValueError: The batches differ or are empty.

    Paper: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019.
    """
    ours, theirs = at_least_float32(student).flatten(1), at_least_float32(teacher.detach()).flatten(1)
    check_vectors(ours, theirs)
    difference = unit(ours @ ours.T) - unit(theirs @ theirs.T)
    return difference.square().mean()


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Probabilistic knowledge transfer: divergence between neighbour probabilities by cosine similarity.

    $\frac{1}{B^2} \sum_{ij} p^t_{ij} (\log(p^t_{ij} + \epsilon) - \log(p^s_{ij} + \epsilon))$ with
    $p_{ij} = k_{ij} / \sum_j k_{ij}$, $k_{ij} = (1 + \cos(f_i, f_j)) / 2$ and epsilon 1e-7.

    The reduction is that of the authors' code, of RepDistiller and of mdistiller, to which the weight of 30000
    belongs: the mean over all pairs, where the paper sums over them; and a sample counts as its own neighbour, which
    the paper leaves out.

    Args:
        student: (batch, width).
        teacher: (batch, width), which may differ.

    Returns:
        A scalar, 0 where the similarities are equal.

    Raises:
        ValueError: The features are no vectors, or the batches differ or are empty.

    Paper: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018.
    """
    check_vectors(student, teacher)
    ours = _neighbour_probabilities(at_least_float32(student))
    theirs = _neighbour_probabilities(at_least_float32(teacher.detach()))
    return (theirs * ((theirs + PKT_EPSILON).log() - (ours + PKT_EPSILON).log())).mean()


def cc_loss(student: Tensor, teacher: Tensor, *, gamma: float = 0.4, order: int = 2) -> Tensor:
    r"""Correlation congruence: squared difference of the samples' kernel matrices, averaged over all pairs.

    $\frac{1}{B^2} \sum_{ij} (k(f^t_i, f^t_j) - k(f^s_i, f^s_j))^2$ with the Gaussian kernel
    $k(x, y) = \exp(-\gamma \|x - y\|^2)$ of L2-normalised features by its Taylor series
    $e^{-2 \gamma} \sum_{p=0}^{P} \frac{(2 \gamma)^p}{p!} (x^T y)^p$.

    This is the form of the paper and of the Knowledge-Distillation-Zoo. RepDistiller's loss of this name multiplies
    differences of neighbours in the batch; through its trained embedding of the teacher it is least where both
    embeddings collapse.

    Args:
        student: (batch, width).
        teacher: (batch, width), which may differ.
        gamma: Inverse width of the kernel; 0.4 as in the paper.
        order: Order of the series, 1 or more; 2 as in the paper.

    Returns:
        A scalar, 0 where the similarities are equal.

    Raises:
        ValueError: The features are no vectors, the batches differ or are empty, gamma is not above 0, or the order is
            below 1.

    Paper: Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019.
    """
    if not gamma > 0 or order < 1:
        raise ValueError(f"gamma must be above 0 and order at least 1, got {gamma} and {order}")
    check_vectors(student, teacher)
    ours = _taylor_kernel(at_least_float32(student), gamma, order)
    theirs = _taylor_kernel(at_least_float32(teacher.detach()), gamma, order)
    return (ours - theirs).square().mean()


def ickd_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Inter-channel correlation: squared difference of row-normalised Gram matrices of the channels.

    $\frac{1}{B C} \sum_b \sum_{ij} (G^t_{ij} / \|G^t_i\| - G^s_{ij} / \|G^s_i\|)^2$ with $G = F F^T$ of the maps of one
    image, flattened: the reduction of the authors' code, to which the weight of 2.5 belongs.

    Args:
        student: (batch, channels, height, width).
        teacher: (batch, channels, height, width), of the same width and any size.

    Returns:
        A scalar, 0 where the correlations are equal up to the scale of each row.

    Raises:
        ValueError: The features are no maps, their channels or batches differ, or they are empty.

    Paper: Liu et al., Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge Distillation, ICCV 2021.
    """
    check_pair(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(f"both maps must have one width, got {tuple(student.shape)} and {tuple(teacher.shape)}")
    ours, theirs = at_least_float32(student).flatten(2), at_least_float32(teacher.detach()).flatten(2)
    difference = unit(ours @ ours.mT) - unit(theirs @ theirs.mT)
    return difference.square().sum((1, 2)).mean() / student.shape[1]


def _cosines(features: Tensor) -> Tensor:
    directions = unit(features)
    return directions @ directions.T


def _neighbour_probabilities(features: Tensor) -> Tensor:
    # Rounding may take a cosine below -1.
    kernel = ((_cosines(features) + 1) / 2).clamp(min=0)
    return kernel / kernel.sum(1, keepdim=True)


def _taylor_kernel(features: Tensor, gamma: float, order: int) -> Tensor:
    cosines = _cosines(features)
    terms = [(2 * gamma) ** p / math.factorial(p) * cosines**p for p in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(0)
