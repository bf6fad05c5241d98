"""Which images are in which batch of which epoch, on which rank."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.data.random import derive, uniform
from understudy.errors import UserError

Order = Callable[[int], Tensor]
"""Epoch -> indices (n,), int64, of the images in the order of that epoch."""

Views = Callable[[int, Tensor], Tensor]
"""Epoch and indices (batch,) -> which view of each of these images the epoch shows (batch,), int64."""

# Tells the seed of the order apart from those of the augmentation.
ORDER_STREAM = 1
# Tells the order of unlabelled images apart from that of the labelled ones.
UNLABELLED_STREAM = 2
# Tells the view that an image begins with apart from the augmentations; those count from 0.
PHASE_STREAM = 1 << 32


def shuffled(num: int, seed: int) -> Order:
    """Another random order of `num` images in each epoch."""

    def order(epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(seed, epoch, ORDER_STREAM))
        return torch.randperm(num, generator=generator)

    return order


def weighted(weights: Tensor, seed: int) -> Order:
    """In each epoch as many draws with replacement as there are images, each with a chance in proportion to its weight.

    Args:
        weights: 0 or more for each image (n,).
        seed: Chooses the draws.
    """

    def order(epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(seed, epoch, ORDER_STREAM))
        return torch.multinomial(weights.double(), len(weights), replacement=True, generator=generator)

    return order


def fresh(epoch: int, index: Tensor) -> Tensor:
    """Another view of each image in every epoch."""
    return torch.full_like(index, epoch)


def repeated(num: int, seed: int) -> Views:
    """The same `num` views over and over; where an image begins depends on the seed, so that seeds differ.

    Args:
        num: How many views there are of an image.
        seed: Chooses where each image begins.
    """

    def views(epoch: int, index: Tensor) -> Tensor:
        start = uniform(seed, torch.zeros_like(index), index, stream=PHASE_STREAM) * num
        return (start.long() + epoch) % num

    return views


@dataclass(frozen=True)
class TrainSchedule:
    """Full batches in the order of the epoch; each rank has its slice of every batch.

    Args:
        num: Images in the split; a split smaller than a batch is one batch.
        batch_size: Images in a batch of all ranks together.
        order: The order of each epoch.
        rank: Which process this is.
        world: How many processes there are.
        views: Which view of an image an epoch shows.
    """

    num: int
    batch_size: int
    order: Order
    rank: int = 0
    world: int = 1
    views: Views = fresh

    def __len__(self) -> int:
        return max(1, self.num // self.batch_size)

    def batches(self, epoch: int, start: int = 0) -> list[Tensor]:
        """Indices (batch_size / world,), int64, of this rank for every step of the epoch from `start`."""
        whole = self.order(epoch)[: len(self) * self.batch_size].split(self.batch_size)
        return [batch.tensor_split(self.world)[self.rank] for batch in whole[start:]]


@dataclass(frozen=True)
class EvaluationSchedule:
    """Every image once and in order, without augmentation; the ranks take turns, nothing is padded.

    Args:
        num: Images in the split.
        batch_size: Images in a batch of all ranks together.
        rank: Which process this is.
        world: How many processes there are.
    """

    num: int
    batch_size: int
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        num_batches = -(-self.num * self.world // self.batch_size)
        return len(range(self.rank, num_batches, self.world))

    def views(self, epoch: int, index: Tensor) -> Tensor:
        """-1: the images without augmentation."""
        return torch.full_like(index, -1)

    def batches(self, epoch: int, start: int = 0) -> list[Tensor]:
        """Indices (batch_size / world,), int64, of this rank from its step `start`; the last may be shorter."""
        if not self.num:
            return []
        whole = torch.arange(self.num).split(self.batch_size // self.world)
        return list(whole[self.rank :: self.world])[start:]


@dataclass(frozen=True)
class MixedSchedule:
    """The batches of a schedule with the same number of unlabelled images behind each.

    An epoch is as long as that of the labelled images; the unlabelled ones are gone through in an order of their own,
    anew when they run out.

    Args:
        labelled: Which labelled images are in which batch.
        num_unlabelled: How many images there are without labels.
        share: How many of them are in a batch of all ranks together, a multiple of the number of ranks.
        seed: Chooses their order.
    """

    labelled: TrainSchedule
    num_unlabelled: int
    share: int
    seed: int

    def __len__(self) -> int:
        return len(self.labelled)

    def views(self, epoch: int, index: Tensor) -> Tensor:
        """Which view of each of these images the epoch shows."""
        return self.labelled.views(epoch, index)

    def batches(self, epoch: int, start: int = 0) -> list[Tensor]:
        """Indices, int64, of this rank for every step of the epoch from `start`: labelled images first."""
        first, world = self.labelled.num, self.labelled.world
        extra = [part.tensor_split(world)[self.labelled.rank] + first for part in self._order(epoch).split(self.share)]
        pairs = zip(self.labelled.batches(epoch, start), extra[start:], strict=True)
        return [torch.cat(pair) for pair in pairs]

    def _order(self, epoch: int) -> Tensor:
        """Indices of unlabelled images for the whole epoch."""
        needed = len(self) * self.share
        rounds = -(-needed // self.num_unlabelled)
        order = shuffled(self.num_unlabelled, derive(self.seed, UNLABELLED_STREAM))
        return torch.cat([order(epoch * rounds + number) for number in range(rounds)])[:needed]


Schedule = TrainSchedule | EvaluationSchedule | MixedSchedule


def check_batch_size(num: int, batch_size: int, *, world: int, train: bool) -> None:
    """Refuse batches that cannot be divided among the ranks.

    Raises:
        UserError: `batch_size` is not a positive multiple of `world`, or several ranks share less than one batch.
    """
    if batch_size < 1 or batch_size % world:
        raise UserError(f"batch_size {batch_size} cannot be divided among {world} processes: take a multiple")
    if train and world > 1 and num < batch_size:
        # They would be one short batch, whose shares differ in size.
        raise UserError(f"{num} training images are less than a batch of {batch_size}: lower train.batch_size")
