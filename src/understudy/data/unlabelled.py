"""Images without labels that join the labelled ones of each batch."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from understudy.data.base import Split
from understudy.data.decode import is_image
from understudy.data.resident import ResidentLoader
from understudy.data.splits import FileSplit
from understudy.data.streaming import StreamingLoader
from understudy.errors import UserError
from understudy.types import Batch

UNKNOWN = -1


def read_unlabelled(path: str) -> FileSplit:
    """All images below a folder, in the order of their names; folders of classes are not looked at.

    Args:
        path: The folder.

    Returns:
        A split whose labels are -1.

    Raises:
        UserError: There is no such folder, or no image in it.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(f"no such folder '{path}': data.unlabelled names a folder of images")
    found = [
        os.path.relpath(os.path.join(place, name), root).replace(os.sep, "/")
        for place, _, names in os.walk(root, followlinks=True)
        for name in names
        if is_image(name)
    ]
    if not found:
        raise UserError(f"no images in '{path}': data.unlabelled names a folder of images")
    return FileSplit(root, sorted(found), torch.full((len(found),), UNKNOWN))


class JoinedSplit(Split):
    """Labelled images and behind them unlabelled ones, whose labels are -1 and whose indices go on.

    Args:
        labelled: The images with labels.
        unlabelled: The images without.
    """

    def __init__(self, labelled: Split, unlabelled: Split) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.labels = torch.cat([labelled.labels, torch.full((len(unlabelled),), UNKNOWN)])

    def read(self, index: int) -> Tensor:
        """The pixels of one image: uint8 (1 or 3, height, width)."""
        first = len(self.labelled)
        return self.labelled.read(index) if index < first else self.unlabelled.read(index - first)

    def subset(self, indices: Tensor) -> Self:
        """The images at `indices` (m,), those with labels first."""
        first = len(self.labelled)
        parts = indices[indices < first], indices[indices >= first] - first
        return type(self)(self.labelled.subset(parts[0]), self.unlabelled.subset(parts[1]))

    def fingerprint(self) -> str:
        """SHA-256 of the fingerprints of both, in hexadecimal."""
        return hashlib.sha256(f"{self.labelled.fingerprint()}\0{self.unlabelled.fingerprint()}".encode()).hexdigest()

    def version(self) -> str:
        """SHA-256 of the versions of both, in hexadecimal."""
        return hashlib.sha256(f"{self.labelled.version()}\0{self.unlabelled.version()}".encode()).hexdigest()


class PartlyLabelled:
    """The batches of a loader without the labels of their last images, which have none.

    Args:
        loader: Its schedule puts the labelled images of a batch first.
        num_unlabelled: How many images of each of its batches have no label.
    """

    def __init__(self, loader: ResidentLoader | StreamingLoader, num_unlabelled: int) -> None:
        self.loader = loader
        self.num_unlabelled = num_unlabelled

    def __len__(self) -> int:
        return len(self.loader)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on; see `Batch.label`."""
        for batch in self.loader.batches(epoch, start):
            assert batch.label is not None
            yield batch._replace(label=batch.label[: len(batch.label) - self.num_unlabelled])

    def content(self) -> str:
        """See the loaders that know it."""
        return self.loader.content()

    def serve(self, chosen: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Batch]:
        """Any views of any images, without labels; see the loaders that know them."""
        return (batch._replace(label=None) for batch in self.loader.serve(chosen))
