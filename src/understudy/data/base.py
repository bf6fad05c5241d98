"""What a data set is: three splits of labelled images and the names of the classes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

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

    def sample(self) -> Iterator[Tensor]:
        """Up to 256 images, evenly spaced over the split."""
        num = min(NUM_SAMPLED, len(self))
        return (self.read(place * len(self) // num) for place in range(num))


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

    def fingerprint(self) -> str:
        """SHA-256 of the classes and of the content of the three splits, in hexadecimal."""
        parts = [*self.classes, *(split.fingerprint() for split in (self.train, self.val, self.test))]
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
    images = list(splits.train.sample())
    shapes = {tuple(image.shape[1:]) for image in images}
    height, width = next(iter(shapes))
    size = height if len(shapes) == 1 and height == width else None
    channels = max(image.shape[0] for image in images)
    if mean is None or std is None:
        mean, std = measure(images, channels)
    return ImageData(
        name, tuple(classes), splits.train, splits.val, splits.test, size, channels, mean, std, splits.notes
    )


def measure(images: Sequence[Tensor], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of all pixels of some images, scaled to 0..1."""
    pixels = torch.cat([image.expand(channels, -1, -1).flatten(1) for image in images], 1).double() / 255
    # A constant channel must not become a division by zero.
    std = pixels.std(1, correction=0).clamp(min=1 / 255)
    return tuple(round(value, 4) for value in pixels.mean(1).tolist()), tuple(round(v, 4) for v in std.tolist())
