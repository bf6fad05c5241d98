"""What a method is."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from understudy.dataflow import Flow
from understudy.matching import Match
from understudy.methods.weighting import Ramp, Weight
from understudy.registry import Registry
from understudy.taps import Shapes
from understudy.types import Batch, Outputs, Terms


class Taps(NamedTuple):
    """Which layers a method wants to see of the student and of the teacher."""

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()


class Facts(NamedTuple):
    """What a method may need to know before training.

    Attributes:
        student: Shapes of the student's tapped features, without the batch axis.
        teacher: Shapes of the teacher's.
        num_classes: Number of logits of the student.
        labels: Class ids of the training split (num_images,), int64; empty if unknown.
        teacher_features: The teacher's tapped features of the images that the shapes come from.
        student_network: The student's network, to look at.
        teacher_network: The teacher's network, for methods that reuse a layer of it: to be copied, never changed. None
            for several teachers.
        teacher_groups: For each class of the student the ids of that network's classes that it stands for; None where
            they are the same in the same order, and for several teachers.
        teacher_flow: Runs the teacher once more and tells how its layers hang together; None without a teacher.
    """

    student: Shapes
    teacher: Shapes
    num_classes: int
    labels: Tensor
    teacher_features: Mapping[str, Tensor] = MappingProxyType({})
    student_network: nn.Module | None = None
    teacher_network: nn.Module | None = None
    teacher_groups: tuple[tuple[int, ...], ...] | None = None
    teacher_flow: Callable[[], Flow] | None = None


class Stage(NamedTuple):
    """A part of the training with its own loss.

    Attributes:
        name: What `Method.begin` is told, and what the log says.
        epochs: How long it is; None is `train.epochs`.
        labels: Whether the label loss and the other methods take part.
        student: Whether the student is trained; if not, only layers of the method are.
        lr_scale: Factor of the learning rate of all parameters that earlier stages have trained.
    """

    name: str
    epochs: int | None = None
    labels: bool = True
    student: bool = True
    lr_scale: float = 1.0


class Method(nn.Module):
    """Turns what student and teacher said about a batch into named loss terms.

    A subclass takes its settings as keyword arguments with defaults: the signature is the schema of the command line
    and of YAML files. `forward` returns each term as the paper defines it; the weights given to this constructor
    are applied by the `Distiller`.

    Args:
        weights: Weight of each term in the total loss, fixed or a `Ramp`; a mapping stands for a `Ramp`.

    Raises:
        ValueError: A weight is negative or not finite.
    """

    label_weight: ClassVar[float] = 1.0
    """Weight of the label loss that the paper or the common protocol pairs with this method."""

    needs_labels: ClassVar[bool] = False
    """Whether the terms need the label of each image; if not, unlabelled images take part."""

    alone: ClassVar[bool] = False
    """Whether no other term may stand beside this method's: what they would train is not what is deployed."""

    needs_teacher: ClassVar[bool] = True
    """Whether there must be a teacher; without one `forward` is given empty targets."""

    needs_exits: ClassVar[bool] = False
    """Whether the student must have early exits."""

    relates_images: bool = False
    """Whether a term compares images with each other, or remembers them; it may depend on the settings."""

    equal_buffers: ClassVar[tuple[str, ...]] = ()
    """Large buffers that all processes change alike, so that they are not sent around at every step."""

    notes: tuple[str, ...] = ()
    """What `setup` did that a user should know, one line each."""

    compiles: ClassVar[bool] = True
    """Whether a step compiles into one graph; taking a gradient inside the loss prevents it."""

    def __init__(self, weights: Mapping[str, Weight | Mapping[str, object]]) -> None:
        super().__init__()
        self.ramps: dict[str, Ramp] = {}
        for term, weight in weights.items():
            if isinstance(weight, Mapping):
                weight = Ramp(**weight)  # pyright: ignore[reportArgumentType]  # checked against its fields before
            if isinstance(weight, Ramp):
                self.ramps[term] = weight
            first = weight.at(0, 1) if isinstance(weight, Ramp) else weight
            if not 0 <= first < float("inf"):
                raise ValueError(f"the weight of '{term}' must be 0 or more and finite, got {weight}")
            # Buffers, so that a schedule can change them without a recompilation.
            self.register_buffer(f"weight_{term}", torch.tensor(float(first)), persistent=False)
        self.terms = tuple(weights)
        self.stage = self.stages()[0].name

    def weight(self, term: str) -> Tensor:
        """The present weight of a term, a 0-D tensor."""
        return self.get_buffer(f"weight_{term}")

    def set_epoch(self, epoch: float, num_epochs: int) -> None:
        """Move the weights along their ramps: `epoch` of `num_epochs` epochs of this stage are done."""
        for term, ramp in self.ramps.items():
            self.weight(term).fill_(ramp.at(epoch, num_epochs))

    def stages(self) -> tuple[Stage, ...]:
        """The parts of the training in order; one unless a subclass says otherwise. The last one is `train`."""
        return (Stage("train"),)

    def begin(self, stage: str) -> None:
        """A stage begins; from now on `forward` returns its terms."""
        self.stage = stage

    def choose(self, match: Match) -> None:
        """Take layers from an automatic pairing, unless they were given; nothing unless a subclass reads features."""

    def taps(self) -> Taps:
        """Which layers are read; none unless a subclass says so."""
        return Taps()

    def setup(self, facts: Facts) -> None:
        """Build adapters for the shapes of the tapped features; nothing unless a subclass needs any."""

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Named scalar terms of the present stage's loss, before weighting."""
        raise NotImplementedError

    def deploy(self, student: nn.Module) -> nn.Module:
        """The student as it is used after training: without anything this method added to it."""
        return student


METHODS: Registry[type[Method]] = Registry("method", "understudy.methods")
register = METHODS.register
