"""Whether what a network gives are logits."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from understudy.classifier import Classifier
from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, ok, warning
from understudy.doctor.probe import PROBES
from understudy.taps import evaluating
from understudy.types import Batch

# A row of probabilities adds up to 1, up to this, also in half precision.
TOLERANCE = 2e-3
# Largest minus smallest logit; softmax of less is as good as uniform over ten classes.
SMALL_RANGE = 0.05
NUM_IMAGES = 256


@PROBES.register("logits")
def logits(case: Case) -> Iterator[Finding]:
    """Probabilities in place of logits, numbers that are not finite, and logits that are all alike are errors."""
    if case.teaching is not None:
        sample = case.teaching.sample(NUM_IMAGES)
        for member in case.members:
            yield _judged(f"the {member.title}", _said(member.model, sample), trained=True)
    yield _judged("the student", _said(case.student, _of(case)), trained=False)


def _of(case: Case) -> Batch:
    assert case.studying is not None
    return case.studying.sample(NUM_IMAGES)


def _said(model: Classifier, batch: Batch) -> Tensor:
    """The network's own outputs, before classes are merged and temperatures applied."""
    raw = nn.Sequential(model.preprocess, model.network)
    with evaluating(raw), torch.no_grad():
        return raw(batch.image).double().cpu()


def _judged(who: str, said: Tensor, *, trained: bool) -> Finding:
    low, high = said.min().item(), said.max().item()
    evidence = f"outputs from {low:.4g} to {high:.4g} on {len(said)} images"
    if not said.isfinite().all():
        return error(
            f"{who} gives numbers that are not finite",
            f"{int((~said.isfinite()).any(1).sum())} of {len(said)} images",
            "other weights, or another normalisation (mean, std)",
        )
    if _are_probabilities(said):
        return error(
            f"{who} gives probabilities, not logits: softmax would be taken of a softmax",
            f"{evidence}; each row adds up to 1",
            "leave out the last softmax, or return log(probabilities), in FILE.py:FUNCTION",
        )
    if trained and (low >= 0 and high <= 1):
        return warning(
            f"{who} gives numbers in 0..1, perhaps after a sigmoid; as logits they are almost alike",
            evidence,
            "leave out the last sigmoid, in FILE.py:FUNCTION",
        )
    spread = (said.amax(1) - said.amin(1)).median().item()
    if trained and spread < SMALL_RANGE:
        return warning(
            f"{who}'s logits are all alike: its targets say nothing",
            f"largest minus smallest logit: {spread:.4g} (median)",
            "teacher.temperature=fit",
        )
    return ok(f"{who} gives logits", evidence)


def _are_probabilities(said: Tensor) -> bool:
    return bool((said >= 0).all() and ((said.sum(1) - 1).abs() < TOLERANCE).all())
