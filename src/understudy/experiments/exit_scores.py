"""Scores of all exits of a student."""

from torch import nn

from understudy.branches import branches_of
from understudy.classifier import Classifier
from understudy.evaluation.accuracy import scores
from understudy.evaluation.predictions import Predictions
from understudy.exits.runtime import AllExits
from understudy.experiments.assembly import Assembly

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
