"""A student, its methods and the label loss as one module: the unit that is trained, saved, averaged and wrapped."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from understudy.errors import UserError
from understudy.losses.checks import at_least_float32
from understudy.methods.base import Method
from understudy.taps import Shapes, Tapped, evaluating, network_of, probe
from understudy.teachers.frozen import Teacher
from understudy.types import Batch, Outputs, Term

LABEL_TERM = "ce"


class Step(NamedTuple):
    """What one forward pass of a `Distiller` gives.

    Attributes:
        loss: The weighted sum of all terms, a scalar.
        terms: Each term by name, raw and weighted.
        outputs: What the student said.
    """

    loss: Tensor
    terms: dict[str, Term]
    outputs: Outputs


class Distiller(nn.Module):
    """Student + methods -> loss.

    It runs in anybody's training loop:

    ```python
    distiller = Distiller(student, [KD(temperature=4.0)])
    loss, terms, outputs = distiller(batch, teacher(batch))
    loss.backward()
    ```

    Losses are computed in float32, also under autocast.

    Args:
        student: Images as in the batch -> logits (batch, classes).
        methods: Distillation methods; without any this is plain training.
        label_weight: Weight of the cross-entropy with the labels, averaged over the batch. None takes what goes with
            the first method (`Method.label_weight`), or 1 without methods.
        label_smoothing: Share of the target spread evenly over all classes, 0 to 1.

    Raises:
        ValueError: Two methods have a term of the same name, or a weight is negative.
        UserError: A method taps a layer that the student does not have.
    """

    label_weight: Tensor

    def __init__(
        self,
        student: nn.Module,
        methods: Sequence[Method] = (),
        *,
        label_weight: float | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        names = [term for method in methods for term in method.terms]
        for name in names:
            if names.count(name) > 1 or name == LABEL_TERM:
                raise ValueError(f"two loss terms are called '{name}'; use each method once")
        weight = _recommended(methods) if label_weight is None else label_weight
        if not 0 <= weight < float("inf"):
            raise ValueError(f"label_weight must be 0 or more and finite, got {weight}")
        self.student = Tapped(student, [tap for method in methods for tap in method.taps().student])
        self.methods = nn.ModuleList(methods)
        self.register_buffer("label_weight", torch.tensor(float(weight)), persistent=False)
        self.use_labels = weight > 0
        self.label_smoothing = label_smoothing

    def setup(self, batch: Batch, teacher: Teacher | None) -> None:
        """Let the methods build their adapters for the shapes they will see; a no-op for logit methods.

        Call it once before the optimizer is made. Neither model changes: the batch is run in eval mode.

        Args:
            batch: A few images.
            teacher: The target source; None without a teacher.

        Raises:
            UserError: A tapped layer gives no usable tensor (see `understudy.taps.probe`).
        """
        student_shapes = _shapes(self.student, batch)
        teacher_shapes = _shapes(teacher.tapped, batch) if teacher else {}
        for method in self.methods:
            assert isinstance(method, Method)
            method.setup(student_shapes, teacher_shapes)

    def forward(self, batch: Batch, targets: Outputs | None = None) -> Step:
        """One batch and the teacher's targets -> loss, terms, the student's outputs.

        Args:
            batch: Images and labels; without labels the label loss is left out.
            targets: What the teacher said; None in plain training.
        """
        outputs: Outputs = self.student(batch.image)
        with torch.autocast(outputs.logits.device.type, enabled=False):
            terms = self._terms(_in_float32(outputs), None if targets is None else _in_float32(targets), batch)
        loss = torch.stack([term.weighted for term in terms.values()]).sum()
        return Step(loss, terms, outputs)

    def deploy(self) -> nn.Module:
        """The student alone, without adapters and hooks of any method; a copy where there were hooks."""
        student = self.student.untapped()
        for method in self.methods:
            assert isinstance(method, Method)
            student = method.deploy(student)
        return student

    def _terms(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        if self.use_labels and batch.label is not None:
            raw = cross_entropy(student.logits, batch.label, label_smoothing=self.label_smoothing)
            terms[LABEL_TERM] = Term(raw.detach(), raw * self.label_weight)
        for method in self.methods:
            assert isinstance(method, Method)
            if teacher is None:
                raise ValueError(f"{type(method).__name__} needs targets: call distiller(batch, teacher(batch))")
            for name, raw in method(student, teacher, batch).items():
                terms[name] = Term(raw.detach(), raw * method.weight(name))
        if not terms:
            raise ValueError("there is no loss: no method, and no label or a label_weight of 0")
        return terms


def gradient_norms(distiller: Distiller, batch: Batch, targets: Outputs | None = None) -> dict[str, float]:
    """How strongly each weighted term pulls at the student: the norm of its gradient on one batch.

    Nothing changes: the batch is run in eval mode and no gradient is stored.

    Args:
        distiller: What is to be trained.
        batch: A few images.
        targets: What the teacher said about them.

    Returns:
        Norm by term name; 0 for a term of weight 0.

    Raises:
        UserError: A term is not 0 but its gradient does not reach the student, so that it would train nothing.
    """
    parameters = [p for p in network_of(distiller.student.model).parameters() if p.requires_grad]
    if not parameters:
        raise UserError("the student has no trainable parameter: everything is frozen")
    with evaluating(distiller), torch.enable_grad():
        terms = distiller(batch, targets).terms
        return {name: _gradient_norm(name, term.weighted, parameters) for name, term in terms.items()}


def _gradient_norm(name: str, term: Tensor, parameters: list[nn.Parameter]) -> float:
    if term.item() == 0:
        return 0.0
    if not term.requires_grad:
        raise UserError(f"loss term '{name}' has no gradient to the student (it is detached); it would train nothing")
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    norm = sum(float(torch.linalg.vector_norm(gradient)) ** 2 for gradient in gradients) ** 0.5
    if norm == 0:
        raise UserError(f"loss term '{name}' is {term.item():.4g} but its gradient does not reach the student")
    return norm


def _shapes(tapped: Tapped, batch: Batch) -> Shapes:
    return probe(tapped.model, batch.image, tapped.taps) if tapped.taps else {}


def _recommended(methods: Sequence[Method]) -> float:
    return methods[0].label_weight if methods else 1.0


def _in_float32(outputs: Outputs) -> Outputs:
    return Outputs(
        at_least_float32(outputs.logits),
        {name: at_least_float32(feature) for name, feature in outputs.features.items()},
        tuple(at_least_float32(logits) for logits in outputs.exits),
    )
