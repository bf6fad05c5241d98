"""Large images are decoded by workers while the device computes."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from understudy.data.augment import Augmentation
from understudy.data.base import Split
from understudy.data.decode import fit, to_channels
from understudy.data.resident import send
from understudy.data.schedule import Schedule
from understudy.errors import UserError
from understudy.types import Batch

Key = list[list[int]]
"""The views of a batch and the indices."""


class StreamingLoader:
    """Batches decoded when they are due.

    Args:
        split: The images.
        schedule: Which images are in which batch.
        size: Height and width of the images in a batch.
        channels: 1 or 3.
        policy: The augmentation.
        seed: Chooses the augmentations.
        device: Where the batches are sent.
        workers: Processes that decode; 0 decodes in this one.
    """

    def __init__(
        self,
        split: Split,
        schedule: Schedule,
        *,
        size: int,
        channels: int,
        policy: Augmentation,
        seed: int,
        device: torch.device,
        workers: int,
    ) -> None:
        self.split = split
        self.schedule = schedule
        self.labels = split.labels
        self.device = device
        self._keys: list[Key] = []
        self._loader: DataLoader[Any] = DataLoader(
            _Decoder(split, size=size, channels=channels, policy=policy, seed=seed),
            # The sampler yields whole batches, and is read again at every epoch.
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            # Without its own generator a DataLoader would draw from the global random state.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.schedule)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on, the same as without the interruption.

        Raises:
            UserError: An image cannot be read.
        """
        chosen = self.schedule.batches(epoch, start)
        return self.serve([(self.schedule.views(epoch, index), index) for index in chosen])

    def content(self) -> str:
        """What stands for the content of all images, see `Split.version`."""
        return self.split.version()

    def serve(self, chosen: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Batch]:
        """Any views of any images, a batch for each pair of views and indices (batch,), int64, on the host.

        Raises:
            UserError: An image cannot be read.
        """
        keys = [torch.stack(pair) for pair in chosen]
        self._keys[:] = [key.tolist() for key in keys]
        for host, image in zip(keys, self._loader, strict=True):
            if isinstance(image, UserError):
                raise image
            view, index = send(host, self.device)
            label = send(self.labels[host[1]], self.device)
            yield Batch(image.to(self.device, non_blocking=True), label, index, view, host)


class _Decoder(Dataset[Any]):
    """Maps a key to the pixels of its batch."""

    def __init__(self, split: Split, *, size: int, channels: int, policy: Augmentation, seed: int) -> None:
        self.split = split
        self.size = size
        self.channels = channels
        self.policy = policy
        self.seed = seed

    def __getitem__(self, key: Key) -> Tensor | UserError:
        try:
            return torch.cat([self._augmented(index, view) for view, index in zip(*key, strict=True)])
        # Returned, because a DataLoader wraps what a worker raises into its whole traceback.
        except UserError as error:
            return error

    def _augmented(self, index: int, view: int) -> Tensor:
        image = to_channels(self.split.read(index), self.channels)
        if not self.policy.frames_itself:
            image = fit(image, self.size)
        place, number = torch.tensor([index]), torch.tensor([view])
        return self.policy(image.unsqueeze(0), place, view=number, seed=self.seed, size=self.size)
