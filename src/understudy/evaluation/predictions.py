"""All logits of a split, collected once; every metric is computed from these, never averaged over batches."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from understudy.record import write_atomically
from understudy.taps import evaluating
from understudy.types import Batch


class Predictions(NamedTuple):
    """What a model said about a split, in the split's order, on the CPU.

    Attributes:
        logits: (images, classes), float32.
        labels: (images,), int64.
    """

    logits: Tensor
    labels: Tensor

    def save(self, path: Path) -> None:
        """Write a safetensors file with the keys `logits` and `labels`."""
        content = save({"logits": self.logits.contiguous(), "labels": self.labels.contiguous()})
        write_atomically(path, lambda file: file.write(content))

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """The inverse of `save`."""
        tensors = load_file(path)
        return cls(tensors["logits"], tensors["labels"])


def collect_predictions(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    gather: Callable[[Sequence[Tensor]], list[Tensor]] = list,
) -> Predictions:
    """Run a model over a split in eval mode without gradients; each module's `training` flag is restored.

    Args:
        model: Images as in the batches -> logits (batch, classes).
        batches: Every image of the split once, over all processes; labels are needed.
        gather: Collects the rows of all processes; alone there is nothing to collect.

    Raises:
        ValueError: The split is empty.
    """
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluating(model), torch.no_grad():
        for batch in batches:
            assert batch.label is not None, "evaluation needs labels"
            rows.append((model(batch.image).float(), batch.label, batch.index))
    if not rows:
        raise ValueError("cannot evaluate on a split without images")
    logits, labels, index = gather([torch.cat(column) for column in zip(*rows, strict=True)])
    order = index.argsort()
    return Predictions(logits[order].cpu(), labels[order].cpu())
