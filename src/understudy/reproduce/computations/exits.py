"""Early exits and calibration, from counts."""

from collections.abc import Sequence
from typing import Literal

import torch

from understudy.evaluation.calibration import calibration_error
from understudy.evaluation.predictions import Predictions
from understudy.exits.cascade import Cascade, cascade
from understudy.exits.logits import ExitLogits
from understudy.exits.policy import Policy
from understudy.exits.scores import doubt
from understudy.reproduce.computations.base import COMPUTATIONS


@COMPUTATIONS.register("calibration-error")
def expected_calibration_error(*, confidence: list[float], correct: list[bool]) -> float:
    """Calibration error of 15 bins.

    Args:
        confidence: Probability of the class that is said, of each image.
        correct: Whether it is the right one.
    """
    said = torch.tensor(confidence, dtype=torch.float64)
    labels = torch.tensor([0 if right else 1 for right in correct])
    # Three classes, so that what is said may be as unsure as .35.
    return calibration_error(Predictions(torch.stack([said, (1 - said) / 2, (1 - said) / 2], 1).log(), labels))


@COMPUTATIONS.register("cascade")
def cascade_value(
    *,
    leave: list[int],
    right: list[int],
    value: Literal["accuracy", "first share"],
) -> float:
    """What early exits come to, from how many images leave where.

    Args:
        leave: Images that leave at each exit, the main one last.
        right: Those of them that are right.
        value: What is asked for: the accuracy of the cascade, or the share that leaves at the first exit.
    """
    found = _cascade(leave, right)
    return {"accuracy": found.total.accuracy, "first share": found.rows[0].share}[value]


@COMPUTATIONS.register("softmax-twice")
def softmax_twice(*, classes: int = 10) -> float:
    """Entropy in bits of probabilities that went through a softmax once more, where they were as sure as they can be.

    Args:
        classes: Number of classes.
    """
    return float(doubt(torch.eye(classes, dtype=torch.float64)[:1], "entropy"))


def _cascade(leave: Sequence[int], right: Sequence[int]) -> Cascade:
    """Images planted so that so many leave at each exit, and so many of them are right."""
    taken = torch.arange(len(leave)).repeat_interleave(torch.tensor(leave))
    fine = torch.cat([torch.arange(num) < good for num, good in zip(leave, right, strict=True)])
    logits = torch.zeros(len(leave), len(taken), 2)
    for number in range(len(leave)):
        here = taken == number
        logits[number, here] = 20 * torch.eye(2)[(~fine[here]).long()]
    labels = torch.zeros(len(taken), dtype=torch.int64)
    # What an exit costs plays no part here.
    cost, heads = torch.ones(len(leave), dtype=torch.float64), torch.zeros(len(leave) - 1, dtype=torch.float64)
    return cascade(ExitLogits(logits, labels, cost, heads), Policy.of("entropy", [0.5] * (len(leave) - 1)))
