"""What an exit policy does to a split: who leaves where, how many of them are right, and what it costs."""

from typing import NamedTuple

import torch
from torch import Tensor

from understudy.exits.logits import ExitLogits
from understudy.exits.policy import NEVER, Policy


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
        rows: One for each exit, the main exit last.
        lost: Images that the main exit is right about and the exit that they take is not.
        won: The other way round.
        main_macs: Multiply-adds of one image in the network without exits.
    """

    rows: tuple[ExitRow, ...]
    lost: int
    won: int
    main_macs: float

    @property
    def images(self) -> int:
        """Number of images."""
        return self.rows[0].images

    @property
    def accuracy(self) -> float:
        """Share of images whose exit is right about them."""
        return sum(row.accepted_correct for row in self.rows) / self.images

    @property
    def main_accuracy(self) -> float:
        """Share of images that the main exit is right about."""
        return self.rows[-1].exit_accuracy

    @property
    def drop(self) -> float:
        """Accuracy of the main exit minus that of the cascade; negative where exits help."""
        return (self.lost - self.won) / self.images

    @property
    def macs(self) -> float:
        """Expected multiply-adds of an image: the mean of what was evaluated for each."""
        return sum(row.accepted * row.macs for row in self.rows) / self.images

    @property
    def saving(self) -> float:
        """Share of the multiply-adds of the network without exits that is saved; negative where heads cost more."""
        return 1 - self.macs / self.main_macs


def cascade(found: ExitLogits, policy: Policy) -> Cascade:
    """Send every image of a split through the exits.

    Args:
        found: Of the split that is reported; the policy comes from another one.
        policy: When an image may leave.

    Raises:
        UserError: The policy has another number of exits.
    """
    taken, correct = policy.exit_taken(found.logits), found.correct
    num, images = len(correct), len(found.labels)
    right = correct.gather(0, taken[None])[0]
    accepted = torch.bincount(taken, minlength=num)
    gone = accepted.cumsum(0)
    columns = zip(
        [*(f"exit {number}" for number in range(1, num)), "main"],
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
    lost, won = (correct[-1] & ~right).sum(), (right & ~correct[-1]).sum()
    return Cascade(tuple(ExitRow(*row) for row in columns), int(lost), int(won), found.main_macs)


def macs_when_leaving(found: ExitLogits, policy: Policy) -> Tensor:
    """Multiply-adds of an image that leaves at each exit (exits + 1,), float64: heads of closed exits are left out."""
    closed = torch.tensor([threshold == NEVER for threshold in policy.thresholds], dtype=torch.bool)
    saved = torch.where(closed, found.head_macs, 0).cumsum(0)
    return found.macs - torch.cat([saved, saved[-1:]])
