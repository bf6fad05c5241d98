"""Students that teach each other, as one module (Zhang, Xiang, Hospedales and Lu, Deep Mutual Learning, CVPR 2018)."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from understudy.distiller import Distiller, Unit, in_float32
from understudy.methods.base import Method
from understudy.taps import IMAGE, IMAGE_GRADIENT, MIRRORED_LOGITS, Tapped
from understudy.teachers.ensemble import average_logits, average_probabilities
from understudy.types import Batch, Outputs, Term

Peers = Literal["mean", "sum", "probabilities", "logits"]
"""How several peers teach.

`mean`, `sum`: a term for each peer, averaged or added up (the paper's text; its authors' code).

`probabilities`, `logits`: one term with the peers' average as the teacher (DML_e); that of the softened probabilities
has the gradient of `mean`, that of the logits another one.
"""


class CohortStep(NamedTuple):
    """What one forward pass of a `Cohort` gives.

    Attributes:
        loss: The sum of the members' losses, a scalar.
        terms: Each term by the number of its member and its name, raw and weighted.
        outputs: What each student said.
    """

    loss: Tensor
    terms: dict[str, Term]
    outputs: tuple[Outputs, ...]


class Cohort(Unit):
    """Distillers whose students are each other's teachers.

    ```python
    cohort = Cohort([Distiller(first, [DML()]), Distiller(second, [DML()])])
    loss, terms, outputs = cohort(batch)
    loss.backward()
    ```

    What a student says teaches the others without a gradient, so each gets that of its own loss alone, whatever the
    others weigh. Terms are named by the student's number, as in `0.ce` and `0.dml`.

    Args:
        members: Each with its own student and methods, set up. With two members the methods may read layers: then the
            students are copied, so make the optimizers afterwards.
        peers: See `Peers`.
        weights: One for each member, by which the weights of its methods are multiplied: one of weight 0 learns from
            the labels alone, and teaches. None is 1 for all.

    Attributes:
        turn: The one member whose loss the next forward pass gives, for updates in turn; None for all of them.

    Raises:
        ValueError: There are fewer than two members, not one weight for each, a weight is negative, a method trains in
            stages or alone or reads more than layers, or one of several peers is asked for its layers.
    """

    def __init__(
        self, members: Sequence[Distiller], *, peers: Peers = "mean", weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"mutual learning needs two students or more, got {len(members)}")
        if peers not in get_args(Peers):
            raise ValueError(f"peers must be mean, sum, probabilities or logits, got {peers!r}")
        for member in members:
            _check_methods(member, len(members))
        _share_taps(members)
        self.members = nn.ModuleList(members)
        self.peers: Peers = peers
        self.weights = _checked(weights, len(members))
        self.turn: int | None = None
        self.stage = members[0].stage

    def each(self) -> Iterator[Distiller]:
        """The members in order."""
        for member in self.members:
            yield cast("Distiller", member)

    def set_epoch(self, epoch: float, num_epochs: int) -> None:
        """Move weights that change: `epoch` of `num_epochs` epochs are done."""
        for member in self.each():
            member.set_epoch(epoch, num_epochs)

    def forward(self, batch: Batch, targets: Outputs | None = None) -> CohortStep:
        """One batch -> the sum of the members' losses, their terms, what the students said.

        In a member's turn it is this member's loss; the others answer as they are by now and stay as they are.

        Args:
            batch: Images and labels.
            targets: Nothing: the teachers are in here.
        """
        assert targets is None, "a cohort has no other teacher"
        said = [self._say(number, batch.image) for number in range(len(self.members))]
        with torch.autocast(batch.image.device.type, enabled=False):
            outputs = [in_float32(each) for each in said]
            turns = range(len(said)) if self.turn is None else [self.turn]
            found = {number: self._terms(number, outputs, batch) for number in turns}
        losses = [torch.stack([term.weighted for term in terms.values()]).sum() for terms in found.values()]
        terms = {f"{number}.{name}": term for number, terms in found.items() for name, term in terms.items()}
        return CohortStep(torch.stack(losses).sum(), terms, tuple(said))

    def targets(self, number: int, outputs: Sequence[Outputs]) -> list[Outputs]:
        """What teaches a member: each of its peers, or their average.

        Args:
            number: Of the member.
            outputs: What each student said.
        """
        peers = [_detached(each) for other, each in enumerate(outputs) if other != number]
        if len(peers) == 1 or self.peers in ("mean", "sum"):
            return peers
        logits, shares = [peer.logits for peer in peers], [1 / len(peers)] * len(peers)
        average = average_logits(logits, shares) if self.peers == "logits" else self._mixture(number, logits, shares)
        return [Outputs(average, {})]

    def deploy(self) -> nn.Module:
        """The students alone, as a `ModuleList`."""
        return nn.ModuleList([member.deploy() for member in self.each()])

    def _say(self, number: int, image: Tensor) -> Outputs:
        student = cast("Distiller", self.members[number]).student
        if self.turn in (None, number):
            return student(image)
        # It was shown these images in its own turn: its BatchNorm statistics must not count them again.
        copies = {name: buffer.clone() for name, buffer in student.named_buffers()}
        with torch.no_grad():
            return functional_call(student, copies, (image,))

    def _terms(self, number: int, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Term]:
        member, own = cast("Distiller", self.members[number]), outputs[number]
        found = [member.method_terms(own, targets, batch) for targets in self.targets(number, outputs)]
        terms = member.label_terms(own, batch)
        for name in found[0]:
            term = self._joined([each[name] for each in found])
            terms[name] = term._replace(weighted=term.weighted * self.weights[number])
        if not terms:
            raise ValueError("there is no loss: no method, and no label or a label_weight of 0")
        return terms

    def _joined(self, terms: list[Term]) -> Term:
        if len(terms) == 1:
            return terms[0]
        raw, weighted = (torch.stack(values).sum() for values in zip(*terms, strict=True))
        count = len(terms) if self.peers == "mean" else 1
        return Term(raw / count, weighted / count)

    def _mixture(self, number: int, peers: list[Tensor], shares: list[float]) -> Tensor:
        """Logits that are the mean of the peers' probabilities at the temperature that the member softens with."""
        methods = cast("Distiller", self.members[number]).methods
        found = [method.temperature for method in methods if hasattr(method, "temperature")]
        return average_probabilities(peers, shares, found[0] if found else 1.0)  # pyright: ignore[reportArgumentType]


def _check_methods(member: Distiller, num: int) -> None:
    for method in _methods(member):
        name, taps = type(method).__name__, {tap for side in method.taps() for tap in side}
        if taps & {IMAGE, IMAGE_GRADIENT, MIRRORED_LOGITS}:
            raise ValueError(f"{name} reads the gradient at the image, which peers do not give: choose dml")
        if taps and num > 2:
            raise ValueError(f"{name} reads the layers of one peer, not of {num - 1}: take two students, or dml")
        if method.alone or len(method.stages()) > 1:
            raise ValueError(f"{name} trains alone or in stages, which peers do not: choose dml")


def _share_taps(members: Sequence[Distiller]) -> None:
    """Let each student show the layers that its own methods and those of its one peer read."""
    wanted = [
        [tap for method in _methods(member) for tap in method.taps().student]
        + [
            tap
            for other in members
            if other is not member
            for method in _methods(other)
            for tap in method.taps().teacher
        ]
        for member in members
    ]
    for member, taps in zip(members, wanted, strict=True):
        if set(taps) != set(member.student.taps):
            member.student = Tapped(member.student.untapped(), taps)


def _methods(member: Distiller) -> list[Method]:
    return [cast("Method", method) for method in member.methods]


def _detached(outputs: Outputs) -> Outputs:
    return Outputs(outputs.logits.detach(), {name: feature.detach() for name, feature in outputs.features.items()})


def _checked(weights: Sequence[float] | None, num: int) -> tuple[float, ...]:
    chosen = [1.0] * num if weights is None else list(weights)
    if len(chosen) != num:
        raise ValueError(f"weights {chosen} must be one for each of {num} students")
    if not all(0 <= weight < float("inf") for weight in chosen):
        raise ValueError(f"weights {chosen} must be 0 or more and finite")
    return tuple(chosen)
