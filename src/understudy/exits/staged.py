"""A classifier with early exits as stages that can be run one by one."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from understudy.branches import Branches, branches_of
from understudy.classifier import Classifier
from understudy.errors import UserError
from understudy.evaluation.cost import count_bytes, count_macs, count_parameters
from understudy.exits.cuts import CannotSplitError, split
from understudy.taps import evaluating, size_seen


class ExitSize(NamedTuple):
    """What is needed of a network to answer at one exit: its stages and heads up to there.

    Attributes:
        parameters: Number of parameters.
        bytes: Of parameters and buffers in memory.
    """

    parameters: int
    bytes: int


class Staged(NamedTuple):
    """Pixels through the stages one by one are what the classifier makes of them, bit for bit, in eval mode.

    Attributes:
        model: The classifier, whose layers the stages share.
        branches: Its heads.
        stages: From the normalised image to the layer of the first exit, from there to that of the second, and last to
            the logits.
        stage_macs: Multiply-adds of each stage for one image.
        head_macs: Of each head.
    """

    model: Classifier
    branches: Branches
    stages: tuple[nn.Module, ...]
    stage_macs: tuple[int, ...]
    head_macs: tuple[int, ...]

    @property
    def macs(self) -> tuple[int, ...]:
        """Multiply-adds of an image that leaves at each exit, the main exit last, with all heads up to there."""
        heads = [*accumulate(self.head_macs), sum(self.head_macs)]
        return tuple(stage + head for stage, head in zip(accumulate(self.stage_macs), heads, strict=True))

    @property
    def sizes(self) -> tuple[ExitSize, ...]:
        """What is needed to answer at each exit, the main exit last."""
        heads = list(self.branches.heads)
        needed = [nn.ModuleList([*self.stages[:end], *heads[:end]]) for end in range(1, len(self.stages) + 1)]
        return tuple(ExitSize(count_parameters(part), count_bytes(part)) for part in needed)


def split_stages(model: Classifier, image: Tensor) -> Staged:
    """Cut a classifier behind the layers of its early exits.

    Args:
        model: In any mode; it is left as it was. Stages share its layers: when it is trained on, so are they.
        image: A few images as the model takes them (batch, channels, height, width), to measure costs and to compare.

    Raises:
        UserError: It has no early exits, or cannot be cut behind them.
    """
    branches = exits_of(model)
    try:
        stages = split(model.network, branches.points)
        with evaluating(model), torch.no_grad():
            _check_same(model, stages, image)
            stage_macs, head_macs = _costs(model, branches, stages, image[:1])
    except CannotSplitError as error:
        raise UserError(
            f"later stages of the {model.name} cannot be left out: {error}; name other layers in student.exits"
        ) from error
    return Staged(model, branches, tuple(stages), tuple(stage_macs), tuple(head_macs))


def exits_of(model: Classifier) -> Branches:
    """The heads of a classifier.

    Raises:
        UserError: It has none.
    """
    branches = branches_of(model.network)
    if branches is None:
        raise UserError(f"the {model.name} has no early exits: train it with student.exits=auto")
    return branches


def _check_same(model: Classifier, stages: Sequence[nn.Module], image: Tensor) -> None:
    """Code that looks at the values of an image cannot be followed by symbols, and does not always fail."""
    feature = seen = model.preprocess(image)
    for stage in stages:
        feature = stage(feature)
    if not torch.equal(feature, model.network(seen)):
        raise CannotSplitError("its stages give other logits than the whole")


def _costs(
    model: Classifier, branches: Branches, stages: Sequence[nn.Module], image: Tensor
) -> tuple[list[int], list[int]]:
    feature, size = model.preprocess(image), size_seen(model, image)
    stage_macs: list[int] = []
    head_macs: list[int] = []
    for number, stage in enumerate(stages):
        stage_macs.append(count_macs(stage, feature))
        feature = stage(feature)
        if number < len(branches.heads):
            head_macs.append(count_macs(lambda given, i=number: branches.answer(i, given, size), feature))
    return stage_macs, head_macs
