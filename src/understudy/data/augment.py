"""Augmentation as a pure function of (seed, view, index), so that any view can be replayed exactly.

Every policy is a dataclass whose fields are its settings. View -1 is the image without augmentation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_zero

from understudy.config import settings_of, validated
from understudy.data.random import uniform
from understudy.errors import UserError
from understudy.registry import Registry

ROW, COLUMN, FLIP = range(3)

PaddingMode = Literal["zero", "reflect"]


class Augmentation(ABC):
    """A policy: pixels in, other pixels of the same images out.

    Attributes:
        frames_itself: Whether it takes images of any size and cuts out its own `size`; other policies get images that
            have been resized and cropped.
    """

    frames_itself: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, pixels: Tensor, index: Tensor, *, view: Tensor, seed: int, size: int) -> Tensor:
        """Augment a batch.

        Args:
            pixels: uint8 (batch, 1 or 3, height, width).
            index: Position of each image in its split (batch,), int64, on the same device.
            view: Which augmentation of each image (batch,), int64; -1 is none.
            seed: Of the whole run.
            size: Height and width of the result.

        Returns:
            uint8 (batch, 1 or 3, size, size).
        """


AUGMENTATIONS: Registry[Callable[..., Augmentation]] = Registry("augmentation", "understudy.data")
"""Named policies; the settings of each are its keyword arguments."""


@AUGMENTATIONS.register("none")
@dataclass(frozen=True, kw_only=True)
class NoAugmentation(Augmentation):
    """Every view is the image itself."""

    def __call__(self, pixels: Tensor, index: Tensor, *, view: Tensor, seed: int, size: int) -> Tensor:
        """Return `pixels` as they are."""
        return pixels


@AUGMENTATIONS.register("shift")
@dataclass(frozen=True, kw_only=True)
class Shift(Augmentation):
    """Move the image by a random number of pixels in both directions; what comes into view is black.

    Args:
        pad: Largest shift, in pixels; 1 suits 8x8 digits.
    """

    pad: int = 1

    def __call__(self, pixels: Tensor, index: Tensor, *, view: Tensor, seed: int, size: int) -> Tensor:
        """Augment a batch, see `Augmentation`."""
        return _random_window(_padded(pixels, self.pad, "zero"), index, view=view, seed=seed, size=size)


@AUGMENTATIONS.register("crop-flip")
@dataclass(frozen=True, kw_only=True)
class CropFlip(Augmentation):
    """Pad, crop a random window of the original size, mirror half of the images: the standard for CIFAR.

    Lee et al., Deeply-Supervised Nets, AISTATS 2015.

    Args:
        pad: Pixels added on every side.
        padding_mode: `zero`, or `reflect` the image without its edge.
    """

    pad: int = 4
    padding_mode: PaddingMode = "zero"

    def __post_init__(self) -> None:
        if self.padding_mode not in ("zero", "reflect"):
            raise UserError(f"padding_mode '{self.padding_mode}' of crop-flip is unknown: choose zero or reflect")

    def __call__(self, pixels: Tensor, index: Tensor, *, view: Tensor, seed: int, size: int) -> Tensor:
        """Augment a batch, see `Augmentation`."""
        padded = _padded(pixels, self.pad, self.padding_mode)
        cropped = _random_window(padded, index, view=view, seed=seed, size=size)
        mirrored = (uniform(seed, view, index, stream=FLIP) < 0.5) & (view >= 0)
        # Copying rows from a stack of both is four times as fast as torch.where on bytes.
        position = torch.arange(len(cropped), device=cropped.device) + len(cropped) * mirrored
        return torch.cat([cropped, cropped.flip(3)]).index_select(0, position)


def make_augmentation(policy: str | Mapping[str, Any] | Augmentation) -> Augmentation:
    """The policy that a name, with settings or without, stands for.

    Args:
        policy: A registered name; a mapping such as `{"name": "crop-flip", "pad": 2}`; or a policy, which is returned.

    Raises:
        UserError: There is no such policy or setting, or a value is of the wrong kind.
    """
    if isinstance(policy, Augmentation):
        return policy
    chosen = {"name": policy} if isinstance(policy, str) else dict(policy)
    if not isinstance(name := chosen.pop("name", None), str):
        raise UserError(f"the augmentation {dict(chosen)} needs a name, as in data.augment={{name: crop-flip, pad: 2}}")
    function = AUGMENTATIONS.get(name)
    # Not `complete`, whose lists for tuples a frozen policy could not be hashed with.
    return function(**dict(validated(settings_of(function), chosen, "data.augment")))


def is_fixed(policy: str | Mapping[str, Any] | Augmentation) -> bool:
    """Whether every view of an image is the image itself."""
    return isinstance(make_augmentation(policy), NoAugmentation)


def _padded(pixels: Tensor, pad: int, mode: PaddingMode) -> Tensor:
    if mode == "zero":
        return pad_zero(pixels, (pad,) * 4)
    if pad >= min(pixels.shape[2:]):
        size = "x".join(str(length) for length in pixels.shape[2:])
        raise UserError(f"cannot pad images of {size} pixels by reflecting {pad}: lower pad")
    tall = torch.cat([pixels[:, :, 1 : pad + 1].flip(2), pixels, pixels[:, :, -pad - 1 : -1].flip(2)], 2)
    return torch.cat([tall[..., 1 : pad + 1].flip(3), tall, tall[..., -pad - 1 : -1].flip(3)], 3)


def _random_window(padded: Tensor, index: Tensor, *, view: Tensor, seed: int, size: int) -> Tensor:
    num_images, channels, height, width = padded.shape
    num_places = height - size + 1
    row, column = (
        torch.where(view < 0, num_places // 2, (uniform(seed, view, index, stream=stream) * num_places).long())
        for stream in (ROW, COLUMN)
    )
    # Every run of `size` bytes as a row of a strided view, from which whole rows are copied.
    runs = padded.reshape(-1).as_strided((padded.numel() - size + 1, size), (1, 1))
    plane = torch.arange(num_images * channels, device=padded.device).view(num_images, channels, 1)
    line = row.view(-1, 1, 1) + torch.arange(size, device=padded.device)
    start = (plane * height + line) * width + column.view(-1, 1, 1)
    return runs.index_select(0, start.flatten()).view(num_images, channels, size, size)
