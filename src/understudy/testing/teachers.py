"""Teachers of another form than one network with the student's classes."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from understudy.distiller import Distiller
from understudy.methods.base import Method
from understudy.models.head import heads_of
from understudy.taps import evaluating
from understudy.teachers import AdjustedClassifier, Ensemble
from understudy.testing.case import NUM_CLASSES, Case, as_classifier, own_terms, small_network


def check_reordered(case: Case) -> None:
    """A teacher that knows the classes in another order teaches as one whose head has them in the student's order."""
    if not case.method.needs_teacher:
        return
    network = _without_hooks(case)
    # Its own inverse would hide that one was taken for the other.
    order = torch.arange(NUM_CLASSES).roll(2)
    mapped = AdjustedClassifier(as_classifier(deepcopy(network)), groups=tuple((int(i),) for i in order))
    found, expected = case.taught_by(mapped), case.taught_by(_with_rows(network, order))
    problem = (
        "of a teacher with its classes in another order; read its logits, and of its head the rows that facts name"
    )
    _check_same_terms(found, expected, problem)
    if case.method.deploy is not Method.deploy:
        equal = _close(_deployed_logits(found), _deployed_logits(expected))
        case.require(equal, f"the exported student is not that {problem}")


def check_ensemble(case: Case) -> None:
    """Several teachers teach a method that reads only logits as one teacher does that gives their mean."""
    if not case.method.needs_teacher or case.make().taps().teacher:
        return
    members = [_without_hooks(case), small_network((4, 6, 8), seed=4)]
    found, expected = case.taught_by(Ensemble(deepcopy(members))), case.taught_by(_Mean(*members))
    _check_same_terms(found, expected, "of the mean of several teachers' logits; read logits only")


class _Mean(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, image: Tensor) -> Tensor:
        return (self.first(image) + self.second(image)) / 2


def _without_hooks(case: Case) -> nn.Module:
    return deepcopy(case.teacher.tapped.untapped())


def _with_rows(network: nn.Module, order: Tensor) -> nn.Module:
    """A copy whose classes are in another order, by the rows of its head."""
    copy = deepcopy(network)
    for path in heads_of(copy):
        for parameter in copy.get_submodule(path).parameters():
            parameter.data = parameter.data[order]
    return copy


def _check_same_terms(found: Case, expected: Case, problem: str) -> None:
    for (stage, one), (_, other) in zip(found.staged(), expected.staged(), strict=True):
        terms, right = own_terms(found.step(one)), own_terms(expected.step(other))
        found.require(terms.keys() == right.keys(), f"stage '{stage.name}' returns other terms than those {problem}")
        for name, term in terms.items():
            found.require(_close(term, right[name]), f"'{name}' in stage '{stage.name}' is not that {problem}")


def _deployed_logits(case: Case) -> Tensor:
    distiller: Distiller = case.build()
    distiller.begin(distiller.stages()[-1])
    student = distiller.deploy()
    with evaluating(student), torch.no_grad():
        return student(case.batch.image)


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
