"""A student against its teacher, image by image in float64."""

import math

from reference.calibration import probabilities
from reference.logit import Array


def called(row: Array) -> int:
    return max(range(len(row)), key=lambda c: float(row[c]))


def agreement(student: Array, teacher: Array) -> float:
    return sum(called(s) == called(t) for s, t in zip(student, teacher, strict=True)) / len(student)


def kl(student: Array, teacher: Array) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total += sum(b * math.log(b / a) for a, b in zip(probabilities(s), probabilities(t), strict=True))
    return total / len(student)


def gap(student: Array, teacher: Array, *, centred: bool) -> float:
    total, count = 0.0, 0
    for s, t in zip(student, teacher, strict=True):
        off_s, off_t = (sum(row) / len(row) if centred else 0.0 for row in (s, t))
        for a, b in zip(s, t, strict=True):
            total += abs((b - off_t) - (a - off_s))
            count += 1
    return total / count


def shared_errors(student: Array, teacher: Array, labels: list[int]) -> tuple[int, float, float]:
    """The teacher's errors, the share that the student makes too, and that share with other images of the class."""
    wrong = [i for i, row in enumerate(teacher) if called(row) != labels[i]]
    same = sum(called(student[i]) == called(teacher[i]) for i in wrong) / len(wrong)
    expected = 0.0
    for i in wrong:
        others = [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]
        if others:
            expected += sum(called(student[j]) == called(teacher[i]) for j in others) / len(others)
    return len(wrong), same, expected / len(wrong)
