"""A student, its methods and the label loss as one module: the unit that is trained, saved, averaged and wrapped."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from understudy.branches import branches_of
from understudy.dataflow import record
from understudy.errors import UserError
from understudy.losses.checks import at_least_float32
from understudy.methods.base import Facts, Method, Stage
from understudy.taps import EXITS, IMAGE, Shapes, Tapped, evaluating, exit_feature, network_of, probe
from understudy.teachers.adjusted import AdjustedClassifier
from understudy.teachers.class_map import Groups
from understudy.teachers.ensemble import Ensemble
from understudy.teachers.frozen import Teacher
from understudy.types import Batch, Outputs, Term

LABEL_TERM = "ce"
# What methods without a teacher are given.
NO_TARGETS = Outputs(torch.empty(0), {})


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


class Unit(nn.Module):
    """What a trainer trains: networks with their losses; `forward` gives a `Step` or the like."""

    stage: Stage

    def set_epoch(self, epoch: float, num_epochs: int) -> None:
        """Move weights that change: `epoch` of `num_epochs` epochs of the present stage are done."""
        raise NotImplementedError

    def deploy(self) -> nn.Module:
        """What is used after training."""
        raise NotImplementedError


class Distiller(Unit):
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
        label_weight: Weight of the cross-entropy with the labels, averaged over the batch. None takes the
            smallest that goes with a method (`Method.label_weight`), or 1 without methods.
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
        for method in methods:
            if method.alone and len(methods) > 1:
                raise ValueError(f"{type(method).__name__} trains alone: leave out the other methods")
        if not 0 <= weight < float("inf"):
            raise ValueError(f"label_weight must be 0 or more and finite, got {weight}")
        exits = () if branches_of(network_of(student)) is None else (EXITS,)
        self.student = Tapped(student, [*(tap for method in methods for tap in method.taps().student), *exits])
        self.methods = nn.ModuleList(methods)
        self.register_buffer("label_weight", torch.tensor(float(weight)), persistent=False)
        self.use_labels = weight > 0
        self.label_smoothing = label_smoothing
        self._stages = _stages(methods)
        self.stage = self._stages[0]

    def stages(self) -> tuple[Stage, ...]:
        """The parts of the training in order; the last one is `train`, in which all methods take part."""
        return self._stages

    def begin(self, stage: Stage) -> None:
        """A stage begins: from now on the loss is its loss."""
        self.stage = stage
        for method in self._methods():
            method.begin(stage.name)

    def set_epoch(self, epoch: float, num_epochs: int) -> None:
        """Move weights that change: `epoch` of `num_epochs` epochs of the present stage are done."""
        for method in self._methods():
            method.set_epoch(epoch, num_epochs)

    def setup(self, batch: Batch, teacher: Teacher | None, *, labels: Tensor | None = None) -> None:
        """Let the methods build their adapters for the shapes they will see; a no-op for logit methods.

        Call it once before the optimizer is made. Neither model changes: the batch is run in eval mode.

        Args:
            batch: A few images.
            teacher: The target source; None without a teacher.
            labels: Class ids of the training split (num_images,), for methods that draw contrasting images.

        Raises:
            UserError: A tapped layer gives no usable tensor (see `understudy.taps.probe`), or the student would not run
                with what a method puts into it.
        """
        said = _answer(self.student, batch)
        facts = Facts(
            student={**_shapes(self.student, batch), **_exit_shapes(said)},
            teacher=_shapes(teacher.tapped, batch) if teacher else {},
            num_classes=said.logits.shape[1],
            labels=torch.empty(0, dtype=torch.int64) if labels is None else labels,
            teacher_features=teacher(batch).features if teacher else {},
            student_network=network_of(self.student.model),
            teacher_network=_network_of(teacher),
            teacher_groups=_groups_of(teacher),
            teacher_flow=partial(record, teacher.tapped.model, batch.image) if teacher else None,
        )
        for method in self._methods():
            method.setup(facts)
        self._check_deployed(batch)

    def forward(self, batch: Batch, targets: Outputs | None = None) -> Step:
        """One batch and the teacher's targets -> loss, terms, the student's outputs.

        Args:
            batch: Images and labels. Images without a label take part in the terms that need none.
            targets: What the teacher said; None in plain training.
        """
        outputs: Outputs = self.student(batch.image)
        with torch.autocast(outputs.logits.device.type, enabled=False):
            terms = self._terms(in_float32(outputs), None if targets is None else in_float32(targets), batch)
        loss = torch.stack([term.weighted for term in terms.values()]).sum()
        return Step(loss, terms, outputs)

    def deploy(self) -> nn.Module:
        """The student alone, without adapters and hooks of any method; a copy where there were hooks."""
        student = self.student.untapped()
        for method in self._methods():
            student = method.deploy(student)
        return student

    def _check_deployed(self, batch: Batch) -> None:
        """Find before the training what would fail at the end of its first epoch."""
        names = [type(method).__name__ for method in self._methods() if type(method).deploy is not Method.deploy]
        if not names:
            return
        student = self.deploy()
        try:
            with evaluating(student), torch.no_grad():
                student(batch.image)
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"the student does not run with what {' and '.join(names)} puts into it ({reason}): "
                "choose other pairs of layers, or another student"
            ) from error

    def _methods(self) -> Iterator[Method]:
        for method in self.methods:
            assert isinstance(method, Method)
            yield method

    def _active(self) -> list[Method]:
        """The methods of the present stage: all, unless it is a stage of one method alone."""
        return [method for method in self._methods() if self.stage.labels or self.stage in method.stages()]

    def _terms(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Term]:
        terms = {**self.label_terms(student, batch), **self.method_terms(student, teacher, batch)}
        if not terms:
            raise ValueError("there is no loss: no method, and no label or a label_weight of 0")
        return terms

    def label_terms(self, student: Outputs, batch: Batch) -> dict[str, Term]:
        """The cross-entropy of outputs in float32 or better with the labels, where there are any that count."""
        if not (self.use_labels and self.stage.labels and batch.label is not None):
            return {}
        logits = student.logits[: len(batch.label)]
        raw = cross_entropy(logits, batch.label, label_smoothing=self.label_smoothing)
        return {LABEL_TERM: Term(raw, raw * self.label_weight)}

    def method_terms(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Term]:
        """The terms of the present stage's methods for outputs and targets in float32 or better."""
        terms: dict[str, Term] = {}
        for method in self._active():
            if teacher is None and method.needs_teacher:
                raise ValueError(f"{type(method).__name__} needs targets: call distiller(batch, teacher(batch))")
            seen = (student, teacher or NO_TARGETS, batch)
            if method.needs_labels:
                if batch.label is None:
                    continue
                seen = labelled_part(*seen)
            for name, raw in method(*seen).items():
                terms[name] = Term(raw, raw * method.weight(name))
        return terms


def labelled_part(student: Outputs, teacher: Outputs, batch: Batch) -> tuple[Outputs, Outputs, Batch]:
    """Only the images that have a label, and what student and teacher said about them."""
    assert batch.label is not None
    count = len(batch.label)
    if count == len(batch.image):
        return student, teacher, batch
    part = Batch(batch.image[:count], batch.label, batch.index[:count], batch.view[:count])
    return _first(student, count), _first(teacher, count), part


def _first(outputs: Outputs, count: int) -> Outputs:
    return Outputs(
        outputs.logits[:count],
        # The image is a leaf that gradients are taken at: a part of it would not be.
        {name: feature if name == IMAGE else feature[:count] for name, feature in outputs.features.items()},
        tuple(logits[:count] for logits in outputs.exits),
    )


def _recommended(methods: Sequence[Method]) -> float:
    # The smallest: a method that replaces part of the label loss does so beside others, too.
    return min((method.label_weight for method in methods), default=1.0)


def _network_of(teacher: Teacher | None) -> nn.Module | None:
    """A teacher's network if it is one only."""
    model = teacher.tapped.model if teacher else None
    return None if model is None or isinstance(model, Ensemble) else network_of(model)


def _groups_of(teacher: Teacher | None) -> Groups | None:
    """The classes of a teacher that stand for those of the student, where they are mapped."""
    model = teacher.tapped.model if teacher else None
    return model.merge.groups if isinstance(model, AdjustedClassifier) and model.merge else None


def _stages(methods: Sequence[Method]) -> tuple[Stage, ...]:
    staged = [method for method in methods if len(method.stages()) > 1]
    if len(staged) > 1:
        names = " and ".join(type(method).__name__ for method in staged)
        raise ValueError(f"{names} both train in stages; use one of them")
    return staged[0].stages() if staged else (Stage("train"),)


def _shapes(tapped: Tapped, batch: Batch) -> Shapes:
    return probe(tapped.model, batch.image, tapped.taps) if tapped.taps else {}


def _answer(student: Tapped, batch: Batch) -> Outputs:
    with evaluating(student), torch.no_grad():
        return student(batch.image)


def _exit_shapes(said: Outputs) -> Shapes:
    """What the classifiers of the exits read; that of the network itself is the last."""
    names = [exit_feature(number) for number in range(len(said.exits) + 1)] if said.exits else []
    return {name: tuple(said.features[name].shape[1:]) for name in names}


def in_float32(outputs: Outputs) -> Outputs:
    """Outputs whose half precision became float32."""
    return Outputs(
        at_least_float32(outputs.logits),
        {name: at_least_float32(feature) for name, feature in outputs.features.items()},
        tuple(at_least_float32(logits) for logits in outputs.exits),
    )
