"""The loss formulas on given logits."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.distiller import Distiller
from understudy.evaluation.logit_gap import logit_gap
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assembly import split_name
from understudy.experiments.validation import logit_loss
from understudy.methods.base import METHODS
from understudy.reproduce.computations.base import COMPUTATIONS

Rows = list[list[float]]


@COMPUTATIONS.register("peers")
def peers(*, student: Rows, others: list[Rows], value: Literal["pairwise", "mean", "difference"]) -> float:
    """What one of several students that teach each other loses: KL over each peer, or to the mean of the peers.

    Args:
        student: Its logits (images, classes).
        others: Those of its peers.
        value: `pairwise` averages the KL of each peer, `mean` takes that of the mean of their probabilities; the
            `difference` is their Jensen-Shannon divergence, which no logit of the student changes.
    """
    own, rest = _tensor(student), [_tensor(rows) for rows in others]
    shares = [1 / len(rest)] * len(rest)
    pairwise = torch.stack([losses.kd_loss(own, each, temperature=1.0) for each in rest]).mean().item()
    mean = losses.kd_loss(own, losses.average_probabilities(rest, shares), temperature=1.0).item()
    return {"pairwise": pairwise, "mean": mean, "difference": pairwise - mean}[value]


@COMPUTATIONS.register("loss")
def mixture(
    *, student: Rows, teacher: Rows, labels: list[int], method: list[dict[str, Any]], label_weight: float
) -> float:
    """The loss of a mixture of methods and labels.

    Args:
        student: Logits (images, classes).
        teacher: Logits of the teacher.
        labels: Class ids.
        method: Methods with their settings; none is the labels alone.
        label_weight: Weight of the cross-entropy.
    """
    with _in_double_precision():
        made = [METHODS.get(name)(**settings) for name, settings in map(split_name, method)]
        distiller = Distiller(nn.Identity(), made, label_weight=label_weight)
    target = torch.tensor(labels)
    return logit_loss(distiller, Predictions(_tensor(student), target), Predictions(_tensor(teacher), target))


@COMPUTATIONS.register("logit-gap")
def gap(*, student: Rows, teacher: Rows) -> float:
    """Mean distance of logits.

    Args:
        student: Logits (images, classes).
        teacher: Those of the teacher.
    """
    return logit_gap(_tensor(student), _tensor(teacher)).plain


@contextmanager
def _in_double_precision() -> Generator[None]:
    """Weights and temperatures as well: 0.9 in float32 is off by 2e-8."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _tensor(rows: Rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
