"""What a policy does to a split, all exits together."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.exits import bound
from understudy.exits.logits import ExitLogits
from understudy.exits.policy import NEVER, Policy


class Outcome(NamedTuple):
    """A policy on a split, in total.

    Attributes:
        policy: When an image may leave.
        lost: Images that the main exit is right about and the exit that they take is not.
        won: The other way round.
        images: Number of images.
        main_correct: Images that the main exit is right about.
        macs: Expected multiply-adds of an image: the mean of what was evaluated for each.
        main_macs: Multiply-adds of one image in the network without exits.
    """

    policy: Policy
    lost: int
    won: int
    images: int
    main_correct: int
    macs: float
    main_macs: float

    @property
    def accuracy(self) -> float:
        """Share of images whose exit is right about them."""
        return (self.main_correct - self.lost + self.won) / self.images

    @property
    def main_accuracy(self) -> float:
        """Share of images that the main exit is right about."""
        return self.main_correct / self.images

    @property
    def drop(self) -> float:
        """Accuracy of the main exit minus that of the cascade; negative where exits help."""
        return (self.lost - self.won) / self.images

    @property
    def saving(self) -> float:
        """Share of the multiply-adds of the network without exits that is saved; negative where heads cost more."""
        return 1 - self.macs / self.main_macs

    def drop_bound(self, level: float) -> float:
        """Upper confidence bound of the drop on other images (see `understudy.exits.bound`); 0 where none may leave.

        Args:
            level: Confidence, one-sided; it holds where these images had no part in finding the policy.
        """
        return 0.0 if self.policy.closed else bound.drop_bound(self.lost, self.won, self.images, level=level)


def replay(found: ExitLogits, policies: Sequence[Policy]) -> list[Outcome]:
    """Policies on a split, in their order. They differ in nothing but thresholds: the scores are computed once.

    Args:
        found: Of any split; what was searched on one is reported on another.
        policies: One score and one set of temperatures.
    """
    if not policies:
        return []
    doubts = policies[0].doubts(found.logits)
    assert all(policy[::2] == policies[0][::2] for policy in policies), "policies of one score"
    change = found.correct.int() - found.correct[-1].int()
    main_correct = int(found.correct[-1].sum())
    made: list[Outcome] = []
    for policy in policies:
        taken = policy.exit_of(doubts)
        net = change.gather(0, taken[None])[0]
        macs = macs_when_leaving(found, policy)[taken].mean().item()
        counts = int((net < 0).sum()), int((net > 0).sum()), len(net)
        made.append(Outcome(policy, *counts, main_correct, macs, found.main_macs))
    return made


def macs_when_leaving(found: ExitLogits, policy: Policy) -> Tensor:
    """Multiply-adds of an image that leaves at each exit (exits + 1,), float64: heads of closed exits are left out."""
    closed = torch.tensor([threshold == NEVER for threshold in policy.thresholds], dtype=torch.bool)
    saved = torch.where(closed, found.head_macs, 0).cumsum(0)
    return found.macs - torch.cat([saved, saved[-1:]])
