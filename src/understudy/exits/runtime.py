"""Prediction that leaves later stages out for images that are done."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from understudy.classifier import Classifier
from understudy.errors import UserError
from understudy.exits.policy import NEVER, Policy
from understudy.exits.scores import doubt
from understudy.exits.staged import Staged, exits_of, split_stages
from understudy.taps import EXITS, Tapped, evaluating, size_seen
from understudy.types import Outputs

# Images at once on a CPU, whose cache then holds their activations: ResNet-18 at 32x32 is half as fast again as at 128.
CHUNK = 16

Leaves = Callable[[int, Tensor], Tensor]
"""Number of an exit and its logits (images, classes) -> which of these images leave (images,), bool."""


class Prediction(NamedTuple):
    """What a classifier with early exits said about some images.

    Attributes:
        logits: Of the exit that each image took (images, classes).
        exit: Number of that exit (images,), int64, from 0; the main exit is the last.
        macs: Multiply-adds that were spent on each image (images,), int64.
    """

    logits: Tensor
    exit: Tensor
    macs: Tensor


def predict(model: Classifier | Staged, images: Tensor, policy: Policy, *, dial: float = 1.0) -> Prediction:
    """Each image goes through as many stages as it needs; one that is done takes no part in what follows.

    What comes out for an image does not depend on what else is in the batch, up to rounding. The device is waited for
    once an exit.

    Args:
        model: A classifier with early exits, or its stages from `split_stages`: cutting takes longer than a batch, so
            cut once for many batches.
        images: Pixels as in the files (images, channels, height, width).
        policy: When an image may leave (see `understudy.exits.policy`).
        dial: 1 takes the policy as it is; more lets images leave later, less earlier: 0 sends all to the first exit,
            infinity all to the main exit.

    Raises:
        UserError: The model has no early exits or cannot be cut, the policy has another number of them, or the dial is
            negative.
    """
    staged = model if isinstance(model, Staged) else split_stages(model, images)
    if len(policy.thresholds) != len(staged.branches.heads):
        raise UserError(
            f"{len(policy.thresholds)} thresholds for {len(staged.branches.heads)} early exits: give one for each"
        )
    turned = policy.turned(dial)
    open_exits = [threshold != NEVER for threshold in turned.thresholds]

    def leaves(number: int, logits: Tensor) -> Tensor:
        doubts = doubt(logits, turned.score, temperature=turned.temperatures[number])
        return doubts < turned.thresholds[number]

    return run_stages(staged, images, leaves, open_exits=open_exits)


@torch.no_grad()
def run_stages(staged: Staged, images: Tensor, leaves: Leaves, *, open_exits: list[bool] | None = None) -> Prediction:
    """As `predict`, with a decision of your own.

    Args:
        staged: From `split_stages`.
        images: As `predict`.
        leaves: Decides at each open exit which of the images that came so far leave.
        open_exits: Whether the head of each exit is run at all; all by default.
    """
    opened = [True] * len(staged.branches.heads) if open_exits is None else open_exits
    with evaluating(staged.model):
        return _Run(staged, images, leaves).through(opened)


class _Run:
    """One batch on its way."""

    def __init__(self, staged: Staged, images: Tensor, leaves: Leaves) -> None:
        self.staged = staged
        self.leaves = leaves
        self.size = size_seen(staged.model, images)
        self.feature: Tensor = staged.model.preprocess(images)
        # Places in the batch of the images that are still on their way.
        self.rows = torch.arange(len(images), device=images.device)
        self.logits: Tensor | None = None
        self.exit = torch.zeros_like(self.rows)
        self.macs = torch.zeros_like(self.rows)
        self.spent = 0

    def through(self, opened: list[bool]) -> Prediction:
        for number, stage in enumerate(self.staged.stages):
            self.feature = _in_parts(stage, self.feature)
            self.spent += self.staged.stage_macs[number]
            if number == len(opened):
                self._write(number, self.feature)
            elif opened[number]:
                self._ask(number)
                if not len(self.rows):
                    break
        assert self.logits is not None
        return Prediction(self.logits, self.exit, self.macs)

    def _ask(self, number: int) -> None:
        said = self.staged.branches.answer(number, self.feature, self.size)
        self.spent += self.staged.head_macs[number]
        # Of all that are here: those that stay are written over, which nobody has to wait for.
        self._write(number, said)
        keep = (~self.leaves(number, said)).nonzero()[:, 0]
        if len(keep) < len(self.rows):
            self.rows, self.feature = self.rows[keep], _rows(self.feature, keep)

    def _write(self, number: int, said: Tensor) -> None:
        if self.logits is None:
            self.logits = said.new_empty(len(self.exit), said.shape[1])
        self.logits[self.rows] = said
        self.exit[self.rows] = number
        self.macs[self.rows] = self.spent


def _rows(feature: Tensor, keep: Tensor) -> Tensor:
    """Some images of a batch, in its layout: `index_select` is twice as fast as brackets, but lays channels first."""
    if feature.ndim == 4 and feature.is_contiguous(memory_format=torch.channels_last):
        return feature.permute(0, 2, 3, 1).index_select(0, keep).permute(0, 3, 1, 2)
    return feature.index_select(0, keep)


def _in_parts(stage: nn.Module, feature: Tensor) -> Tensor:
    """A stage at a time for a few images, then the next one for those that are left of all."""
    if feature.device.type != "cpu" or len(feature) <= CHUNK:
        return stage(feature)
    return torch.cat([stage(part) for part in feature.tensor_split(-(-len(feature) // CHUNK))])


class AllExits(nn.Module):
    """What every exit says about every image, also in a network that cannot be cut; nothing is left out.

    Args:
        model: A classifier with early exits. It carries hooks until `remove` is called.

    Raises:
        UserError: It has no early exits.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        exits_of(model)
        self.tapped = Tapped(model, [EXITS])

    def forward(self, images: Tensor) -> Tensor:
        """Pixels (images, channels, height, width) -> logits (images, exits + 1, classes), the main exit last."""
        outputs: Outputs = self.tapped(images)
        return torch.stack([*outputs.exits, outputs.logits], dim=1)

    def remove(self) -> None:
        """Take the hooks off the classifier."""
        self.tapped.remove()


def predict_all(model: Classifier, images: Tensor) -> Tensor:
    """What every exit says about some images, in eval mode and without a graph.

    Args:
        model: A classifier with early exits.
        images: Pixels as in the files (images, channels, height, width).

    Returns:
        Logits (exits + 1, images, classes), the main exit last.

    Raises:
        UserError: It has no early exits.
    """
    every = AllExits(model)
    try:
        with evaluating(model), torch.no_grad():
            return every(images).transpose(0, 1)
    finally:
        every.remove()
