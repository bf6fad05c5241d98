"""Augmentation of photographs one by one, with torchvision's transforms.

Each image gets its own random state from (seed, view, index), so the number of workers changes nothing.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from understudy.data.augment import AUGMENTATIONS, Augmentation
from understudy.data.decode import fit
from understudy.data.random import derive

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class PhotoAugmentation(Augmentation):
    """A policy for images of any size."""

    frames_itself: ClassVar[bool] = True

    @abstractmethod
    def transform(self, size: int) -> Transform:
        """A random function from uint8 (channels, height, width) to uint8 (channels, size, size)."""

    def __call__(self, pixels: Tensor, index: Tensor, *, view: Tensor, seed: int, size: int) -> Tensor:
        """Augment a batch, image by image; see `Augmentation`."""
        transform = _cached_transform(self, size)
        images = [
            _replay(transform, image, derive(seed, number, place)) if number >= 0 else fit(image, size)
            for image, place, number in zip(pixels, index.tolist(), view.tolist(), strict=True)
        ]
        return torch.stack(images)


@AUGMENTATIONS.register("resized-crop")
@dataclass(frozen=True, kw_only=True)
class ResizedCrop(PhotoAugmentation):
    """A random part of the image, resized and mirrored at random: the standard for ImageNet.

    Szegedy et al., Going Deeper with Convolutions, CVPR 2015.

    Args:
        min_area: Smallest share of the image that a crop may have.
    """

    min_area: float = 0.08

    def transform(self, size: int) -> Transform:
        """Crop with an aspect ratio of 3/4 to 4/3, resize antialiased, mirror half of the images."""
        return _random_crop(size, self.min_area)


@AUGMENTATIONS.register("randaugment")
@dataclass(frozen=True, kw_only=True)
class RandAugment(PhotoAugmentation):
    """A random crop, then random operations on colour and shape (Cubuk et al., RandAugment, NeurIPS 2020).

    Args:
        min_area: Smallest share of the image that a crop may have.
        num_ops: Operations per image.
        magnitude: Their strength, 0..30.
    """

    min_area: float = 0.08
    num_ops: int = 2
    magnitude: int = 9

    def transform(self, size: int) -> Transform:
        """`resized-crop`, then RandAugment."""
        from torchvision.transforms import v2

        return v2.Compose([_random_crop(size, self.min_area), v2.RandAugment(self.num_ops, self.magnitude)])


@AUGMENTATIONS.register("imagewoof")
@dataclass(frozen=True, kw_only=True)
class SlightJitter(PhotoAugmentation):
    """The whole image resized, with slight changes of colour, rotation and position.

    Args:
        colour: Largest relative change of brightness, contrast and saturation.
        hue: Largest change of hue, as a share of the colour circle.
        degrees: Largest rotation.
        translate: Largest shift as a share of (width, height).
    """

    colour: float = 0.05
    hue: float = 0.05
    degrees: float = 5.0
    translate: tuple[float, float] = (0.01, 0.1)

    def transform(self, size: int) -> Transform:
        """Resize to a square, jitter the colours, rotate and shift."""
        from torchvision.transforms import v2

        jitter = v2.ColorJitter(self.colour, self.colour, self.colour, self.hue)
        affine = v2.RandomAffine((-self.degrees, self.degrees), translate=self.translate)
        return v2.Compose([v2.Resize((size, size), antialias=True), jitter, affine])


def _random_crop(size: int, min_area: float) -> Transform:
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(size, scale=(min_area, 1.0), ratio=(3 / 4, 4 / 3), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


@lru_cache(maxsize=8)
def _cached_transform(policy: PhotoAugmentation, size: int) -> Transform:
    return policy.transform(size)


def _replay(transform: Transform, image: Tensor, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reset the state of every GPU.
        torch.default_generator.manual_seed(seed)
        return transform(image)
