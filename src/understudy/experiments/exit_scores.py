"""Scores of all exits of a student."""

import torch
from torch import nn

from understudy.branches import branches_of
from understudy.classifier import Classifier
from understudy.evaluation.accuracy import scores
from understudy.evaluation.predictions import Predictions
from understudy.exits.runtime import AllExits
from understudy.experiments.assembly import Assembly
from understudy.methods.base import Method

# What selects an epoch.
KEYS = ("accuracy", "nll")


def has_exits(student: nn.Module) -> bool:
    """Whether a student has early exits."""
    return isinstance(student, Classifier) and branches_of(student.network) is not None


def collect_exits(made: Assembly, student: nn.Module, split: str) -> Predictions:
    """What all exits say about all images of a split: logits (exits + 1, images, classes), the main exit last.

    Args:
        made: What the split belongs to.
        student: A classifier with early exits, on the device.
        split: `val` or `test`.
    """
    assert isinstance(student, Classifier)
    every = AllExits(student)
    try:
        found = made.predictions(every, split)
    finally:
        every.remove()
    return Predictions(found.logits.transpose(0, 1).contiguous(), found.labels)


def score_each(found: Predictions) -> list[dict[str, float]]:
    """Scores of each exit, the main exit last.

    Args:
        found: From `collect_exits`.
    """
    return [scores(Predictions(logits, found.labels)) for logits in found.logits]


def validation_scores(made: Assembly, student: nn.Module) -> dict[str, float]:
    """Scores on the validation split: those of the student, and where exits are trained the means over all exits.

    `exits.accuracy` and `exits.nll` are what selects the epoch of such a student, as in the code of
    SanityLacking/Self-Distillation: with a frozen trunk its own accuracy never changes. `exits.1` and so on are the
    accuracies of the early exits.
    """
    trained = any(isinstance(method, Method) and method.needs_exits for method in made.distiller.methods)
    if not (trained and has_exits(student)):
        return scores(made.predictions(student, "val"))
    each = score_each(collect_exits(made, student, "val"))
    means = {f"exits.{key}": float(torch.tensor([one[key] for one in each]).double().mean()) for key in KEYS}
    early = {f"exits.{number}": one["accuracy"] for number, one in enumerate(each[:-1], start=1)}
    return {**each[-1], **means, **early}
