"""What an exit policy does to a split: who leaves where, how many of them are right, and what it costs."""

from typing import NamedTuple

import torch

from understudy.exits.logits import ExitLogits
from understudy.exits.outcome import Outcome, macs_when_leaving, replay
from understudy.exits.policy import Policy


class ExitRow(NamedTuple):
    """One exit of a cascade.

    Attributes:
        exit: "exit 1", ... in order of depth, then "main".
        threshold: Of the doubt; infinity for the main exit.
        exit_accuracy: Share of *all* images that this exit is right about, in 0..1.
        inputs: Images that come this far.
        accepted: Images that leave here.
        accepted_correct: Those of them that are right.
        rejected: Images that go on.
        macs: Multiply-adds of an image that leaves here, with the heads that were evaluated.
        images: Number of images of the split.
    """

    exit: str
    threshold: float
    exit_accuracy: float
    inputs: int
    accepted: int
    accepted_correct: int
    rejected: int
    macs: float
    images: int

    @property
    def accepted_accuracy(self) -> float:
        """Share of right ones among those that leave here; NaN where nobody does. It falls by selection."""
        return self.accepted_correct / self.accepted if self.accepted else float("nan")

    @property
    def share(self) -> float:
        """Share of all images that leave here."""
        return self.accepted / self.images


class Cascade(NamedTuple):
    """A policy on a split.

    Attributes:
        total: All exits together.
        rows: One for each exit, the main exit last.
    """

    total: Outcome
    rows: tuple[ExitRow, ...]


def cascade(found: ExitLogits, policy: Policy) -> Cascade:
    """Send every image of a split through the exits.

    Args:
        found: Of the split that is reported; the policy comes from another one.
        policy: When an image may leave.

    Raises:
        UserError: The policy has another number of exits.
    """
    (total,) = replay(found, [policy])
    taken, correct = policy.exit_taken(found.logits), found.correct
    num, images = len(correct), len(found.labels)
    right = correct.gather(0, taken[None])[0]
    accepted = torch.bincount(taken, minlength=num)
    gone = accepted.cumsum(0)
    columns = zip(
        found.names,
        [*policy.thresholds, float("inf")],
        correct.double().mean(1).tolist(),
        (images - gone + accepted).tolist(),
        accepted.tolist(),
        torch.bincount(taken[right], minlength=num).tolist(),
        (images - gone).tolist(),
        macs_when_leaving(found, policy).tolist(),
        [images] * num,
        strict=True,
    )
    return Cascade(total, tuple(ExitRow(*row) for row in columns))
