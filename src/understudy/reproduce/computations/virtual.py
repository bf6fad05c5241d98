"""Virtual teachers: what a softmax leaves of them, and how sure they make a student."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from understudy import losses
from understudy.reproduce.computations.base import COMPUTATIONS


@COMPUTATIONS.register("virtual-teacher")
def virtual_teacher_probability(*, classes: int, temperature: float, confidence: float = 0.9) -> float:
    """Probability that a virtual teacher still gives the true class after a softmax of its probabilities.

    Args:
        classes: Number of classes.
        temperature: Divides the probabilities.
        confidence: Probability of the true class before.
    """
    said = losses.virtual_teacher(torch.zeros(1, classes, dtype=torch.float64), torch.tensor([0]), confidence)
    return (said / temperature).softmax(1)[0, 0].item()


@COMPUTATIONS.register("free-logit-optimum")
def free_logit_optimum(
    *,
    variant: Literal["calibrated", "both"],
    classes: int = 10,
    temperature: float = 1.0,
    confidence: float = 0.9,
    weight: float = 0.5,
) -> float:
    """Probability of the true class where label loss and virtual teacher together are smallest, each logit being free.

    Args:
        variant: As of the method `tf-kd`.
        classes: Number of classes.
        temperature: Of `both`.
        confidence: Probability of the true class that the virtual teacher starts from.
        weight: Of the virtual teacher; that of the labels is what is left of 1.
    """
    label = torch.tensor([0])
    logits = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        if variant == "both":
            taught = losses.softened_virtual_loss(logits, label, confidence, temperature)
        else:
            taught = losses.calibrated_virtual_loss(logits, label, confidence)
        total = (1 - weight) * cross_entropy(logits, label) + weight * taught
        total.backward()
        return total

    optimizer.step(closure)
    return logits.softmax(1)[0, 0].item()
