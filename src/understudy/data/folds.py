"""Cross-validation: every image that is not for reporting validates once and trains in all other folds."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from understudy.data.base import ImageData, Split
from understudy.data.random import derive
from understudy.errors import UserError


def k_folds(labels: Tensor, num_folds: int, *, seed: int) -> list[Tensor]:
    """Divide indices at random into parts of equal size that hold the same share of every class.

    The sizes of the parts, and the numbers of images of a class in them, differ by one at most.

    Args:
        labels: Class ids (n,), int64.
        num_folds: Number of parts, two or more.
        seed: Chooses the images.

    Returns:
        Sorted indices of each part; every index is in exactly one.

    Raises:
        UserError: There are fewer than two parts, or fewer images than parts.
    """
    if not 2 <= num_folds <= len(labels):
        raise UserError(f"folds={num_folds} does not divide {len(labels)} images: choose 2 or more, at most one each")
    order: list[Tensor] = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(derive(seed, label))
        order.append(members[torch.randperm(len(members), generator=generator)])
    dealt = torch.cat(order)
    return [dealt[number::num_folds].sort().values for number in range(num_folds)]


def on_fold(data: ImageData, fold: int, *, num_folds: int, seed: int) -> ImageData:
    """Training and validation images put together and divided anew; the test split stays as it is.

    The normalisation stays that of `data` as well, so that the folds differ in nothing but their images.

    Args:
        data: The data set.
        fold: Which part validates, 1 to `num_folds`; all others train.
        num_folds: Number of parts.
        seed: Chooses the images of the parts, the same for all folds.

    Raises:
        UserError: There is no such fold, or there are fewer images than parts.
    """
    whole = PickedSplit([data.train, data.val])
    parts = k_folds(whole.labels, num_folds, seed=seed)
    if not 1 <= fold <= num_folds:
        raise UserError(f"data.fold={fold} is none of {num_folds} folds: choose 1 to {num_folds}")
    train = torch.cat([part for number, part in enumerate(parts, 1) if number != fold]).sort().values
    note = f"validation is fold {fold} of {num_folds} of all images but those of the test split (split_seed {seed})"
    return replace(data, train=whole.subset(train), val=whole.subset(parts[fold - 1]), notes=(*data.notes, note))


class PickedSplit(Split):
    """Images out of several splits.

    Args:
        parts: Where the images are.
        places: For each image the number of its part and its index there (n, 2), int64; all images by default.
    """

    def __init__(self, parts: Sequence[Split], places: Tensor | None = None) -> None:
        self.parts = parts
        self.places = _everything(parts) if places is None else places
        starts = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
        self.labels = torch.cat([part.labels for part in parts])[starts[self.places[:, 0]] + self.places[:, 1]]

    def read(self, index: int) -> Tensor:
        """The pixels of one image: uint8 (1 or 3, height, width)."""
        part, place = self.places[index].tolist()
        return self.parts[part].read(place)

    def subset(self, indices: Tensor) -> Self:
        """The images at `indices` (m,)."""
        return type(self)(self.parts, self.places[indices])

    def fingerprint(self) -> str:
        """SHA-256 of the fingerprints of all parts and of the places, in hexadecimal."""
        return self._digest([part.fingerprint() for part in self.parts])

    def version(self) -> str:
        """SHA-256 of the versions of all parts and of the places, in hexadecimal."""
        return self._digest([part.version() for part in self.parts])

    def _digest(self, parts: Sequence[str]) -> str:
        digest = hashlib.sha256("\0".join(parts).encode())
        digest.update(self.places.contiguous().numpy().data)
        return digest.hexdigest()


def _everything(parts: Sequence[Split]) -> Tensor:
    numbers = [torch.full((len(part),), number) for number, part in enumerate(parts)]
    return torch.stack([torch.cat(numbers), torch.cat([torch.arange(len(part)) for part in parts])], dim=1)
