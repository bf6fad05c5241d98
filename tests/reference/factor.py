"""Factor transfer (Kim, Park and Kwak, NeurIPS 2018), equation 3 with p = 1, averaged over batch and elements."""

from reference.complex_step import Numbers, with_gradient
from reference.logit import Array, Loss


def _normalised(factor: Numbers) -> Numbers:
    numbers = factor.reshape(-1)
    length = sum(z**2 for z in numbers) ** 0.5
    return numbers / length


def ft(student: Array, teacher: Array) -> Loss:
    def value(moved: Numbers) -> complex:
        total = 0j
        for ours, theirs in zip(moved, teacher, strict=True):
            for a, b in zip(_normalised(ours), _normalised(theirs), strict=True):
                total += (a - b) if (a - b).real > 0 else (b - a)
        return total / student.size

    return with_gradient(value, student)
