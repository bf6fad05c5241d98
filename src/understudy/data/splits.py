"""The kinds of split: pixels in memory, files, and a user's own Dataset."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from understudy.data.base import Split
from understudy.data.decode import read_image, to_pixels
from understudy.errors import UserError


class PixelSplit(Split):
    """Images of one size in memory.

    Args:
        pixels: uint8 (n, 1 or 3, height, width).
        labels: Class ids (n,), int64.
    """

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        assert pixels.dtype == torch.uint8, pixels.dtype
        assert pixels.ndim == 4, pixels.shape
        assert len(pixels) == len(labels), (len(pixels), len(labels))
        self.pixels = pixels
        self.labels = labels.long()

    def read(self, index: int) -> Tensor:
        """The pixels of one image: uint8 (1 or 3, height, width)."""
        return self.pixels[index]

    def subset(self, indices: Tensor) -> Self:
        """The images at `indices` (m,), copied."""
        return type(self)(self.pixels[indices], self.labels[indices])

    def fingerprint(self) -> str:
        """SHA-256 of shape, pixels and labels, in hexadecimal."""
        digest = hashlib.sha256(str(tuple(self.pixels.shape)).encode())
        digest.update(self.pixels.contiguous().numpy().data)
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()


class FileSplit(Split):
    """Images in files, decoded whenever they are read.

    Args:
        root: The folder that `paths` are relative to.
        paths: One file name per image, with forward slashes.
        labels: Class ids (n,), int64.
    """

    def __init__(self, root: Path, paths: Sequence[str], labels: Tensor) -> None:
        assert len(paths) == len(labels), (len(paths), len(labels))
        self.root = root
        self.paths = paths
        self.labels = labels

    def read(self, index: int) -> Tensor:
        """The pixels of one image: uint8 (1 or 3, height, width).

        Raises:
            UserError: The file cannot be decoded.
        """
        return read_image(self.root / self.paths[index])

    def subset(self, indices: Tensor) -> Self:
        """The images at `indices` (m,)."""
        return type(self)(self.root, [self.paths[int(index)] for index in indices.tolist()], self.labels[indices])

    def fingerprint(self) -> str:
        """SHA-256 of relative path, size in bytes and label of every file and of the content of up to 256 of them."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            digest.update(f"{path}\0{(self.root / path).stat().st_size}\0{label}\n".encode())
        for index in self.sampled():
            with (self.root / self.paths[index]).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def version(self) -> str:
        """SHA-256 of relative path, size and time of the last change of every file, in hexadecimal."""
        digest = hashlib.sha256()
        for path in self.paths:
            found = (self.root / path).stat()
            digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class DatasetSplit(Split):
    """A map-style Dataset of (image, class id), such as torchvision's.

    Its images must not be augmented or normalised: both happen later, and differently in training and evaluation.

    Args:
        dataset: Has `__len__` and `__getitem__`; see `to_pixels` for the images. Labels are taken from its attribute
            `targets` where there is one, otherwise every item is read once.
        labels: Class ids (n,), int64, where they are known already.
        indices: Which items belong to this split (n,); all by default.
        identity: A hash that stands for the content of `dataset`; without it a sample of its images is hashed.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        labels: Tensor | None = None,
        indices: Tensor | None = None,
        identity: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = torch.arange(len(dataset)) if indices is None else indices
        self.labels = _labels_of(dataset) if labels is None else labels
        self.identity = identity
        assert len(self.indices) == len(self.labels), (len(self.indices), len(self.labels))

    def read(self, index: int) -> Tensor:
        """The pixels of one image: uint8 (1 or 3, height, width).

        Raises:
            UserError: The Dataset returned no such image.
        """
        return to_pixels(self.dataset[int(self.indices[index])][0])

    def subset(self, indices: Tensor) -> Self:
        """The images at `indices` (m,)."""
        return type(self)(
            self.dataset, labels=self.labels[indices], indices=self.indices[indices], identity=self.identity
        )

    def fingerprint(self) -> str:
        """SHA-256 of the labels and of `identity`, or of up to 256 evenly spaced images, in hexadecimal."""
        digest = hashlib.sha256(self.labels.numpy().data)
        if self.identity is not None:
            digest.update(self.identity.encode())
            digest.update(self.indices.numpy().data)
            return digest.hexdigest()
        for image in self.sample():
            digest.update(str(tuple(image.shape)).encode())
            digest.update(image.contiguous().numpy().data)
        return digest.hexdigest()


def _labels_of(dataset: Any) -> Tensor:
    known = getattr(dataset, "targets", None)
    try:
        values = known if known is not None else [dataset[index][1] for index in range(len(dataset))]
        return torch.tensor([int(value) for value in values], dtype=torch.int64)
    except (TypeError, ValueError, IndexError) as error:
        kind = type(dataset).__name__
        raise UserError(f"{kind} does not give pairs of (image, class id) ({error}): make it return them") from error
