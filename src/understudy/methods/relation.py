"""What methods that compare the relations among the images of a batch have in common."""

import torch
import torch.distributed as dist
from torch import Tensor

from understudy.methods.feature import FeatureMethod
from understudy.types import Batch, Outputs, Terms


class RelationMethod(FeatureMethod):
    """A method whose terms compare images with each other, in the batch of all processes together.

    Each term is the sum over the pairs of layers. Under several processes each one computes the loss of the whole
    batch, so that two train as one.

    Args:
        weights: As `Method`.
        pairs: As `FeatureMethod`.
    """

    relates_images = True

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Named scalar terms of the loss, before weighting."""
        compared = [
            self.compare(whole_batch(ours), whole_batch(theirs.detach()))
            for ours, theirs in self.paired(student, teacher)
        ]
        return {name: torch.stack([terms[name] for terms in compared]).sum() for name in self.terms}

    def compare(self, student: Tensor, teacher: Tensor) -> Terms:
        """Named scalar terms of one pair of features of the same images."""
        raise NotImplementedError


def pooled(feature: Tensor) -> Tensor:
    """One vector for each image: maps (batch, channels, height, width) are averaged over their positions.

    Args:
        feature: Maps, or vectors (batch, width), which stay.
    """
    return feature.mean((2, 3)) if feature.ndim == 4 else feature


def whole_batch(rows: Tensor) -> Tensor:
    """The rows of all processes, in order of rank; alone, the rows themselves.

    Every process computes the same loss from them, and the trainer averages gradients over the processes. So the
    gradient of this process's own rows counts as often as there are processes.

    Args:
        rows: (batch of this process, ...), of one shape in all processes.
    """
    if not dist.is_initialized():
        return rows
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    parts[dist.get_rank()] = rows + (len(parts) - 1) * (rows - rows.detach())
    return torch.cat(parts)
