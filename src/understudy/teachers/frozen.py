"""A network that only answers."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

from understudy.taps import Tapped
from understudy.types import Batch, Outputs


class Teacher(nn.Module):
    """A frozen model as a source of targets: always in eval mode, without gradients.

    It stays in eval mode inside a parent's `.train()`, so its BatchNorm buffers are bit-identical after training.

    Args:
        model: Images as in the batch -> logits (batch, classes). Its parameters are frozen in place.
        taps: Layers whose output methods want to see (see `understudy.taps.Tapped`).

    Raises:
        UserError: There is no such layer.
    """

    def __init__(self, model: nn.Module, *, taps: Sequence[str] = ()) -> None:
        super().__init__()
        self.tapped = Tapped(model.requires_grad_(False), taps)
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Do nothing: a teacher never trains."""
        return self

    # Not inference_mode: its tensors may not enter the student's graph.
    @torch.no_grad()
    def forward(self, batch: Batch) -> Outputs:
        """A batch -> targets, plain tensors without a graph."""
        return self.tapped(batch.image)
