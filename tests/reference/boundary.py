"""Activation boundaries (Heo et al., AAAI 2019), equation 5, averaged over the batch."""

from reference.complex_step import Numbers, with_gradient
from reference.logit import Array, Loss


def ab_value(student: Numbers, teacher: Array, margin: float) -> complex:
    total = 0j
    for s, t in zip(student.reshape(-1), teacher.reshape(-1), strict=True):
        if t > 0 and s.real < margin:
            total += (margin - s) ** 2
        if t <= 0 and s.real > -margin:
            total += (margin + s) ** 2
    return total / len(student)


def ab(student: Array, teacher: Array, margin: float) -> Loss:
    return with_gradient(lambda moved: ab_value(moved, teacher, margin), student)
