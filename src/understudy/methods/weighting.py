"""Weights of loss terms, fixed or changing over the training."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Ramp:
    """A weight that changes over the epochs; a dictionary of these fields stands for one in settings.

    A warm-up over 20 epochs to 1 is `Ramp(0, 1, to_epoch=20)`; FitNets' decay is `Ramp(4, 1)`.

    Args:
        start: Weight up to `from_epoch`.
        end: Weight from `to_epoch` on; unused by `step`.
        shape: `linear` or half a `cosine` between the two; `step` multiplies by `factor` after every `every` epochs.
        from_epoch: Where the change begins.
        to_epoch: Where it ends; None is the end of the training.
        max_share: Where it ends at the latest, as a share of the training; None lets a short training stop before.
        every: Epochs between two steps.
        factor: What a step multiplies by.

    Raises:
        ValueError: A weight is negative or not finite, the shape is unknown, there is no time between two steps, or the
            change ends before it begins, or the share is not above 0 and at most 1.
    """

    start: float
    end: float = 0.0
    shape: Literal["linear", "cosine", "step"] = "linear"
    from_epoch: float = 0.0
    to_epoch: float | None = None
    every: float = 30.0
    factor: float = 0.5
    max_share: float | None = None

    def __post_init__(self) -> None:
        if not all(0 <= number < math.inf for number in (self.start, self.end, self.factor)):
            raise ValueError(
                f"a weight must be 0 or more and finite, got start {self.start}, end {self.end}, factor {self.factor}"
            )
        if self.shape not in ("linear", "cosine", "step"):
            raise ValueError(f"shape must be linear, cosine or step, got {self.shape!r}")
        if not self.every > 0:
            raise ValueError(f"every must be above 0 epochs, got {self.every}")
        if self.to_epoch is not None and self.to_epoch <= self.from_epoch:
            raise ValueError(f"to_epoch {self.to_epoch} must be above from_epoch {self.from_epoch}")
        if self.max_share is not None and not 0 < self.max_share <= 1:
            raise ValueError(f"max_share must be above 0 and at most 1, got {self.max_share}")

    def at(self, epoch: float, num_epochs: int) -> float:
        """The weight when `epoch` of `num_epochs` epochs are done; fractions count."""
        if self.shape == "step":
            return self.start * self.factor ** max(0, int((epoch - self.from_epoch) // self.every))
        until = num_epochs if self.to_epoch is None else self.to_epoch
        if self.max_share is not None:
            until = min(until, self.max_share * num_epochs)
        done = min(max((epoch - self.from_epoch) / max(until - self.from_epoch, 1e-9), 0.0), 1.0)
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start + (self.end - self.start) * done


Weight = float | Ramp
"""What a method's `weight` may be."""
