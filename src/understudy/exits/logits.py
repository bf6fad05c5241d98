"""What all exits of a network said about a split, collected once; everything about thresholds is computed from it."""

from typing import NamedTuple

import torch
from torch import Tensor


class ExitLogits(NamedTuple):
    """Logits of every exit for every image, whether or not the image would have left before, on the CPU.

    Attributes:
        logits: (exits + 1, images, classes), float32, in order of depth; the last one is the main exit.
        labels: (images,), int64.
        macs: (exits + 1,), float64: multiply-adds of an image that leaves at this exit: the trunk so far, and the heads
            of this exit and of all before it.
        head_macs: (exits,), float64: multiply-adds of each early head alone, which are part of `macs`. An exit that is
            closed (threshold -inf) needs no head, so they are saved.
    """

    logits: Tensor
    labels: Tensor
    macs: Tensor
    head_macs: Tensor

    @property
    def correct(self) -> Tensor:
        """Whether each exit is right about each image (exits + 1, images), bool."""
        return self.logits.argmax(-1) == self.labels

    @property
    def names(self) -> list[str]:
        """What the exits are called: "exit 1", ... in order of depth, then "main"."""
        return [*(f"exit {number}" for number in range(1, len(self.logits))), "main"]

    @property
    def main_macs(self) -> float:
        """Multiply-adds of one image in the network without any exit."""
        return float(self.macs[-1] - self.head_macs.sum())

    def rows(self, rows: Tensor) -> "ExitLogits":
        """A part of the images, by their places (part,), int64."""
        return self._replace(logits=self.logits[:, rows], labels=self.labels[rows])

    def halves(self, seed: int = 0) -> tuple["ExitLogits", "ExitLogits"]:
        """Two random halves: one to search thresholds on, the other to say what they are worth."""
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(seed))
        middle = len(order) // 2
        return self.rows(order[:middle].sort().values), self.rows(order[middle:].sort().values)
