"""Knowledge distillation by singular value decomposition (Lee, Kim and Song, ECCV 2018), section 3.

The gradient is that by differences of fourth order, since a decomposition takes no complex step.
"""

from itertools import pairwise

import numpy as np
from reference.logit import Array, Loss

STEP = 1e-3


def _leading(feature: Array, num: int) -> tuple[Array, Array]:
    """Right singular vectors of one image's (positions, channels) in columns, and the singular values."""
    channels = feature.shape[0]
    unfolded = np.stack([feature[c].reshape(-1) for c in range(channels)], axis=1)
    _, values, rows = np.linalg.svd(unfolded, full_matrices=True)
    return rows[:num].T, np.append(values, np.zeros(channels))[:num]


def _aligned(student: Array, teacher: Array, num: int) -> tuple[Array, Array]:
    theirs, values = _leading(teacher, num)
    ours, _ = _leading(student, num + 3)
    pairs: list[tuple[Array, Array]] = []
    for k in range(num):
        target = theirs[:, k] if theirs[:, k].sum() >= 0 else -theirs[:, k]
        cosines = [float(target @ ours[:, j]) for j in range(ours.shape[1])]
        best = max(range(len(cosines)), key=lambda j: abs(cosines[j]))
        chosen = ours[:, best] if cosines[best] >= 0 else -ours[:, best]
        scale = values[k] / np.sqrt((values**2).sum())
        pairs.append((chosen * scale, target * scale))
    return np.stack([ours for ours, _ in pairs], 1), np.stack([theirs for _, theirs in pairs], 1)


def _value(student: list[Array], teacher: list[Array], num: int) -> float:
    total = 0.0
    for image in range(len(student[0])):
        found = [_aligned(s[image], t[image], num) for s, t in zip(student, teacher, strict=True)]
        for (ours_before, theirs_before), (ours, theirs) in pairwise(found):
            for c, d, k in np.ndindex(len(ours), len(ours_before), num):
                a = np.exp(-((ours[c, k] - ours_before[d, k]) ** 2) / 8)
                b = np.exp(-((theirs[c, k] - theirs_before[d, k]) ** 2) / 8)
                total += (a - b) ** 2
    return total / len(student[0])


def kdsvd(student: list[Array], teacher: list[Array], num: int = 1, *, stage: int = 0) -> Loss:
    """Its gradient is that with respect to one stage of the student."""
    gradient = np.zeros_like(student[stage])
    for position in np.ndindex(*gradient.shape):
        values: dict[int, float] = {}
        for steps in (-2, -1, 1, 2):
            moved = [feature.copy() for feature in student]
            moved[stage][position] += steps * STEP
            values[steps] = _value(moved, teacher, num)
        gradient[position] = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * STEP)
    return Loss(_value(student, teacher, num), gradient)
