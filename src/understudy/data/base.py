"""What a data set is: three splits of labelled images and the names of the classes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.registry import Registry

# Enough to tell sizes and statistics of a set apart, and two seconds of decoding for photographs.
NUM_SAMPLED = 256


class Split(ABC):
    """Images with labels, read one by one.

    Attributes:
        labels: Class ids (n,), int64.
    """

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """The pixels of one image: uint8 (1 or 3, height, width), of any size."""

    @abstractmethod
    def subset(self, indices: Tensor) -> Self:
        """The images at `indices` (m,), int64, in that order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of the content, in hexadecimal: the same data have the same fingerprint on every machine."""

    def version(self) -> str:
        """Changes whenever the content of any image may have changed: SHA-256 of all of it, in hexadecimal."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            image = self.read(index)
            digest.update(str(tuple(image.shape)).encode())
            digest.update(image.contiguous().numpy().data)
        return digest.hexdigest()

    def sample(self) -> Iterator[Tensor]:
        """Up to 256 images, evenly spaced over the split, read one after the other."""
        return (self.read(index) for index in self.sampled())

    def sampled(self) -> list[int]:
        """Up to 256 indices, evenly spaced over the split."""
        num = min(NUM_SAMPLED, len(self))
        return [place * len(self) // num for place in range(num)]


@dataclass(frozen=True)
class ImageData:
    """A data set for image classification.

    Args:
        name: What it is called in reports.
        classes: Class names in the order of the class ids.
        train: Images to learn from.
        val: Images to select with (epoch, temperature, threshold); may be empty.
        test: Images to report on, never used to select.
        size: Height and width in pixels where all images share one, as far as a sample of the training split tells.
        channels: 1 if the sampled images are all grey, else 3.
        mean: Mean per channel of pixels in 0..1.
        std: Standard deviation per channel of pixels in 0..1.
        notes: What a reader of the results must know, such as which split was taken as the test split.
        unlabelled: Images that join the training batches without a label; None without any.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    size: int | None
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()
    unlabelled: Split | None = None

    def fingerprint(self) -> str:
        """SHA-256 of the classes and of the content of the splits, in hexadecimal."""
        splits = [split for split in (self.train, self.val, self.test, self.unlabelled) if split is not None]
        parts = [*self.classes, *(split.fingerprint() for split in splits)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


DATASETS: Registry[Callable[..., ImageData]] = Registry("dataset", "understudy.data")
"""Named sources of data; the settings of each are its keyword arguments."""


@dataclass(frozen=True)
class Splits:
    """The three splits of a data set and how they came about.

    Args:
        train: Images to learn from.
        val: Images to select with.
        test: Images to report on.
        notes: How they were made.
    """

    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...]


def describe(
    name: str,
    classes: Sequence[str],
    *,
    splits: Splits,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> ImageData:
    """Measure size, channels and, where no constants are known, mean and standard deviation on the training split.

    Args:
        name: What the data set is called.
        classes: Class names in the order of the class ids.
        splits: Its three splits.
        mean: Known mean per channel of pixels in 0..1; with None it and `std` are measured.
        std: Known standard deviation per channel.

    Raises:
        UserError: There are fewer than two classes, or the training or test split is empty.
    """
    if len(classes) < 2:
        raise UserError(f"data set '{name}' has the classes {list(classes)}: a classifier needs at least two")
    if not len(splits.train) or not len(splits.test):
        sizes = f"{len(splits.train)} training and {len(splits.test)} test images"
        raise UserError(f"data set '{name}' has {sizes}: it needs some of both")
    seen = measure(splits.train.sample())
    if mean is None or std is None:
        mean, std = seen.mean, seen.std
    return ImageData(
        name, tuple(classes), splits.train, splits.val, splits.test, seen.size, seen.channels, mean, std, splits.notes
    )


class Measured(NamedTuple):
    """What some images have in common.

    Attributes:
        size: Height and width in pixels if all are squares of one size, otherwise None.
        channels: 1 if all are grey, otherwise 3.
        mean: Mean per channel of all pixels in 0..1.
        std: Standard deviation per channel, at least 1/255.
    """

    size: int | None
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def measure(images: Iterable[Tensor]) -> Measured:
    """Look at images, uint8 (1 or 3, height, width), one after the other; none is kept. At least one is needed."""
    shapes: set[tuple[int, ...]] = set()
    # How often each value occurs in each channel: exact sums, however many pixels there are.
    counts = {channels: torch.zeros(channels, 256, dtype=torch.float64) for channels in (1, 3)}
    for image in images:
        shapes.add(tuple(image.shape[1:]))
        counts[image.shape[0]] += torch.stack([plane.flatten().bincount(minlength=256) for plane in image])
    is_grey = not counts[3].any()
    count = counts[1] if is_grey else counts[1] + counts[3]
    share = count / count.sum(1, keepdim=True)
    value = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ value
    variance = (share * (value - mean.unsqueeze(1)) ** 2).sum(1)
    height, width = next(iter(shapes))
    return Measured(
        size=height if len(shapes) == 1 and height == width else None,
        channels=len(count),
        mean=tuple(round(number, 4) for number in mean.tolist()),
        # A constant channel must not become a division by zero.
        std=tuple(round(number, 4) for number in variance.sqrt().clamp(min=1 / 255).tolist()),
    )
