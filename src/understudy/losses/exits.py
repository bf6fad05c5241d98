"""What the exits of one network learn from each other (Zhang et al., Be Your Own Teacher, ICCV 2019)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from understudy.losses.average import average_logits, average_probabilities

ExitTeacher = Literal["deepest", "logits", "probabilities"]
"""Who teaches the exits: the `deepest` one, or all together by the mean of their `logits` or `probabilities`."""


def exit_targets(exits: Sequence[Tensor], *, teacher: ExitTeacher, temperature: float | Tensor) -> Tensor:
    """What the exits are taught, without a gradient.

    Args:
        exits: Logits (batch, classes) of each exit in order of depth, the network's own last.
        teacher: Who teaches.
        temperature: At which probabilities are averaged; softened at it, the result is their exact mean.

    Returns:
        Logits (batch, classes), float32 or better.

    Raises:
        ValueError: There is no exit, or the teacher is unknown.
    """
    if not exits:
        raise ValueError("there is no exit to learn from")
    said = [logits.detach() for logits in exits]
    shares = [1 / len(said)] * len(said)
    if teacher == "deepest":
        return average_logits(said[-1:], [1.0])
    if teacher == "logits":
        return average_logits(said, shares)
    if teacher == "probabilities":
        return average_probabilities(said, shares, temperature)
    raise ValueError(f"teacher must be deepest, logits or probabilities, got {teacher!r}")


def weighted_sum(losses: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The losses of the exits together.

    Args:
        losses: A scalar for each exit.
        weights: Of each exit (exits,).

    Returns:
        A scalar: the sum over exits, not their mean, as in the paper.
    """
    return (torch.stack(list(losses)) * weights).sum()
