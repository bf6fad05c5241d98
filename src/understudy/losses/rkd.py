"""Losses between the distances and angles that student and teacher see among samples (Park et al., CVPR 2019).

No gradient flows into the teacher's features. Half precision is computed in float32. A batch of one sample, or one of
equal samples, has no relations: the value is 0, and so is the gradient.
"""

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torch.utils.checkpoint import checkpoint

from understudy.losses.checks import at_least_float32, check_vectors
from understudy.losses.unit import SHORTEST, unit

# Samples closer than this share of the features' root mean square norm are equal: what float32 would call their
# direction is rounding, and its gradient grows as the distance shrinks.
EQUAL = 1e-5
# Numbers in the largest tensor of a group of corners: 8 MB in float32. 128 images of 128 features are one group.
CHUNK = 2**21


def rkd_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Distance-wise relational distillation: smooth L1 between distances in units of their mean.

    $\frac{1}{B^2} \sum_{ij} l(d^s_{ij} / \mu_s, d^t_{ij} / \mu_t)$ with Euclidean distances d, their mean mu over the
    pairs at a distance above 0, and the smooth L1 (Huber) loss l of threshold 1: averaged over all pairs of the
    batch, each sample with itself included, as in the authors' code and in RepDistiller.

    Args:
        student: (batch, width).
        teacher: (batch, width), which may differ.

    Returns:
        A scalar, 0 where the distances are proportional.

    Raises:
        ValueError: The features are no vectors, or the batches differ or are empty.

    Paper: Park, Kim, Lu and Cho, Relational Knowledge Distillation, CVPR 2019.
    """
    check_vectors(student, teacher)
    ours = _relative_distances(at_least_float32(student))
    return smooth_l1_loss(ours, _relative_distances(at_least_float32(teacher.detach())))


def rkd_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Angle-wise relational distillation: smooth L1 between the cosines of the angles in all triangles of samples.

    $\frac{1}{B^3} \sum_{ijk} l(\cos^s_{jik}, \cos^t_{jik})$ with
    $\cos_{jik} = \langle \frac{f_j - f_i}{\|f_j - f_i\|}, \frac{f_k - f_i}{\|f_k - f_i\|} \rangle$, 0 where a side
    has no length, and the smooth L1 (Huber) loss l of threshold 1: averaged over all triples, as in the authors'
    code and in RepDistiller.

    In large batches corners i are taken a few at a time and computed once more in the backward pass, so that memory
    does not grow with the third power of the batch.

    Args:
        student: (batch, width).
        teacher: (batch, width), which may differ.

    Returns:
        A scalar, 0 where the angles are equal.

    Raises:
        ValueError: The features are no vectors, or the batches differ or are empty.

    Paper: Park, Kim, Lu and Cho, Relational Knowledge Distillation, CVPR 2019.
    """
    check_vectors(student, teacher)
    ours, theirs = at_least_float32(student), at_least_float32(teacher.detach())
    num = len(ours)
    step = max(1, CHUNK // (num * max(num, ours.shape[1], theirs.shape[1])))
    if step >= num:
        return _angle_sum(ours, ours, theirs, theirs) / num**3
    total = ours.new_zeros(())
    for corners, their_corners in zip(ours.split(step), theirs.split(step), strict=True):
        part = checkpoint(
            _angle_sum, ours, corners, theirs, their_corners, use_reentrant=False, preserve_rng_state=False
        )
        assert isinstance(part, Tensor)
        total = total + part
    return total / num**3


def _relative_distances(features: Tensor) -> Tensor:
    # Not by products of the features: their rounding would set equal samples apart.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    count = (distances > 0).sum().clamp(min=1)
    mean = distances.sum() / count
    return distances / torch.where(mean > 0, mean, torch.ones_like(mean))


def _angle_sum(student: Tensor, corners: Tensor, teacher: Tensor, their_corners: Tensor) -> Tensor:
    return smooth_l1_loss(_angles(student, corners), _angles(teacher, their_corners), reduction="sum")


def _angles(features: Tensor, corners: Tensor) -> Tensor:
    """Cosines (corner, sample, sample) of the angles at some corners."""
    equal = EQUAL * features.detach().square().sum(1).mean().sqrt()
    sides = unit(features - corners[:, None], shortest=equal.clamp(min=SHORTEST))
    return sides @ sides.mT
