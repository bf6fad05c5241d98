"""What a method is."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from understudy.registry import Registry
from understudy.taps import Shapes
from understudy.types import Batch, Outputs, Terms


class Taps(NamedTuple):
    """Which layers a method wants to see of the student and of the teacher."""

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()


class Method(nn.Module):
    """Turns what student and teacher said about a batch into named loss terms.

    A subclass takes its settings as keyword arguments with defaults: the signature is the schema of the command line
    and of YAML files. `forward` returns each term as the paper defines it; the weights given to this constructor
    are applied by the `Distiller`.

    Args:
        weights: Weight of each term in the total loss.

    Raises:
        ValueError: A weight is negative or not finite.
    """

    label_weight: ClassVar[float] = 1.0
    """Weight of the label loss that the paper or the common protocol pairs with this method."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        for term, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"the weight of '{term}' must be 0 or more and finite, got {weight}")
            # Buffers, so that a schedule can change them without a recompilation.
            self.register_buffer(f"weight_{term}", torch.tensor(float(weight)), persistent=False)
        self.terms = tuple(weights)

    def weight(self, term: str) -> Tensor:
        """The present weight of a term, a 0-D tensor."""
        return self.get_buffer(f"weight_{term}")

    def taps(self) -> Taps:
        """Which layers are read; none unless a subclass says so."""
        return Taps()

    def setup(self, student_shapes: Shapes, teacher_shapes: Shapes) -> None:
        """Build adapters for the shapes of the tapped features; nothing unless a subclass needs any."""

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Named scalar terms of the loss, before weighting."""
        raise NotImplementedError

    def deploy(self, student: nn.Module) -> nn.Module:
        """The student as it is used after training: without anything this method added to it."""
        return student


METHODS: Registry[type[Method]] = Registry("method", "understudy.methods")
register = METHODS.register
