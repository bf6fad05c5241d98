"""Whether images of another data set leave early: the surer the exits are about them, the less their score is worth."""

from typing import NamedTuple

import torch
from torch import Tensor

from understudy.exits.cascade import cascade
from understudy.exits.logits import ExitLogits
from understudy.exits.policy import Policy


class OodRow(NamedTuple):
    """One exit, with known images and with images out of distribution (OOD).

    Attributes:
        exit: "exit 1", ... in order of depth, then "main".
        inputs: Known images that come this far.
        accepted: Known images that leave here.
        accepted_correct: Those of them that are right.
        ood_inputs: OOD images that come this far.
        ood_accepted: OOD images that leave here; none of them can be right.
    """

    exit: str
    inputs: int
    accepted: int
    accepted_correct: int
    ood_inputs: int
    ood_accepted: int

    @property
    def known_share(self) -> float:
        """Known images among all that leave here, in 0..1; NaN where nobody does."""
        return _ratio(self.accepted, self.accepted + self.ood_accepted)

    @property
    def ood_rate(self) -> float:
        """Share of the OOD images that come this far and leave here; NaN where none comes."""
        return _ratio(self.ood_accepted, self.ood_inputs)

    @property
    def accuracy(self) -> float:
        """Right answers among all that leave here, OOD images counted as wrong; NaN where nobody does."""
        return _ratio(self.accepted_correct, self.accepted + self.ood_accepted)


def ood_table(known: ExitLogits, ood_logits: Tensor, policy: Policy) -> list[OodRow]:
    """Acceptance of known images and of OOD images at each exit.

    Args:
        known: Of the split that is reported.
        ood_logits: Of another data set (exits + 1, images, classes); its labels are not needed.
        policy: Found on validation images.
    """
    accepted = torch.bincount(policy.exit_taken(ood_logits), minlength=len(ood_logits))
    inputs = ood_logits.shape[1] - accepted.cumsum(0) + accepted
    rows = zip(cascade(known, policy).rows, inputs.tolist(), accepted.tolist(), strict=True)
    return [OodRow(row.exit, row.inputs, row.accepted, row.accepted_correct, *counts) for row, *counts in rows]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
