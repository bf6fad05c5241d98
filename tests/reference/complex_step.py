"""Gradients of references by the complex step (Squire and Trapp 1998): exact, without a derivation to get wrong.

A reference must be analytic in the student's logits: no absolute values, and comparisons of real parts only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference.logit import Array, Loss

# Complex numbers along the way; their real part is the value.
Numbers = NDArray[Any]
STEP = 1e-30


def with_gradient(value: Callable[[Numbers], complex], at: Array) -> Loss:
    gradient = np.zeros_like(at)
    for position in np.ndindex(*at.shape):
        moved = at.astype(complex)
        moved[position] += 1j * STEP
        gradient[position] = value(moved).imag / STEP
    return Loss(value(at.astype(complex)).real, gradient)


def log_sum_exp(numbers: Sequence[complex] | Numbers) -> complex:
    largest = max(z.real for z in numbers)
    return largest + np.log(sum(np.exp(z - largest) for z in numbers))


def softmax(row: Numbers, temperature: float) -> Numbers:
    scaled = row / temperature
    return np.array([np.exp(z - log_sum_exp(scaled)) for z in scaled])


def kl(log_p: Numbers, log_q: Numbers) -> complex:
    return sum(np.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))
