"""Small data sets live on the device as uint8."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import torch
from torch import Tensor

from understudy.data.augment import Augmentation
from understudy.data.base import Split
from understudy.data.decode import fit, to_channels
from understudy.data.schedule import Schedule
from understudy.data.splits import PixelSplit
from understudy.types import Batch

NUM_THREADS = 4
CHUNK = 256
# Smaller images spend their time under the interpreter lock, where threads only wait for each other.
MIN_THREADED_PIXELS = 128**2

Progress = Callable[[int, int], None]
"""Called with the images decoded so far and in total."""


class ResidentLoader:
    """Batches gathered from images in memory.

    Args:
        pixels: All images of the split, uint8 (n, channels, size, size).
        labels: Class ids (n,), int64.
        schedule: Which images are in which batch.
        policy: The augmentation.
        seed: Chooses the augmentations.
        device: Where the images live.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        *,
        schedule: Schedule,
        policy: Augmentation,
        seed: int,
        device: torch.device,
    ) -> None:
        self.pixels = pixels.to(device)
        self.labels = labels.to(device)
        self.schedule = schedule
        self.policy = policy
        self.seed = seed

    def __len__(self) -> int:
        return len(self.schedule)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on, the same as without the interruption."""
        chosen = self.schedule.batches(epoch, start)
        return self.serve([(self.schedule.views(epoch, index), index) for index in chosen])

    def content(self) -> str:
        """SHA-256 of all pixels in the order of the split, in hexadecimal."""
        digest = hashlib.sha256(str(tuple(self.pixels.shape)).encode())
        digest.update(self.pixels.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def serve(self, chosen: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Batch]:
        """Any views of any images, a batch for each pair of views and indices (batch,), int64, on the host."""
        size = self.pixels.shape[-1]
        for pair in chosen:
            host = torch.stack(pair)
            view, index = send(host, self.pixels.device)
            image = self.policy(self.pixels.index_select(0, index), index, view=view, seed=self.seed, size=size)
            yield Batch(image, self.labels[index], index, view, host)


def send(host: Tensor, device: torch.device) -> Tensor:
    """A copy on the device that nobody waits for: a GPU takes it out of pinned memory when it gets there."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def make_resident(split: Split, *, size: int, channels: int, progress: Progress | None = None) -> Tensor:
    """Decode all images, framed as `fit` does.

    Args:
        split: The images.
        size: Height and width of the result.
        channels: 1 or 3.
        progress: Called after every 256 images.

    Returns:
        uint8 (n, channels, size, size).
    """
    if isinstance(split, PixelSplit) and tuple(split.pixels.shape[2:]) == (size, size):
        return to_channels(split.pixels, channels).contiguous()
    pixels = torch.empty(len(split), channels, size, size, dtype=torch.uint8)

    def decode(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(split))):
            pixels[index] = fit(to_channels(split.read(index), channels), size)

    starts = range(0, len(split), CHUNK)
    is_large = any(image[0].numel() >= MIN_THREADED_PIXELS for image in islice(split.sample(), 1))
    with ThreadPoolExecutor(NUM_THREADS if is_large else 1) as pool:
        for start, _ in zip(starts, pool.map(decode, starts), strict=True):
            if progress is not None:
                progress(min(start + CHUNK, len(split)), len(split))
    return pixels
