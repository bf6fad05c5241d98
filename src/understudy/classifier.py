"""A network together with the preprocessing it was trained for and the names of its classes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# ITU-R BT.601 luma, as PIL's convert("L").
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class InputSpec:
    """What a network wants to see.

    Args:
        size: (height, width) that images are resized to, antialiased bilinear; None takes them as they come.
        channels: 1 or 3; grey images are repeated, colour images reduced to luma.
        mean: Mean per channel of pixels in 0..1, subtracted.
        std: Standard deviation per channel of pixels in 0..1, divided by.
    """

    size: tuple[int, int] | None = None
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"mean {self.mean} and std {self.std} must have one value for each of {self.channels} channels"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "InputSpec":
        """The inverse of `to_dict`, with lists allowed for tuples."""
        size = values["size"]
        return cls(
            size=None if size is None else tuple(size),
            channels=values["channels"],
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
        )


class Preprocess(nn.Module):
    """Pixels as they are in the file -> what the network was trained on: scale, channels, size, normalisation.

    Args:
        spec: What the network wants.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        # Not persistent: a model's state_dict holds the network's own keys only.
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 1 or 3, height, width) uint8 in 0..255 or float in 0..1 -> normalised float of the spec's shape."""
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise ValueError(f"expected images of shape (batch, 1 or 3, height, width), got {tuple(image.shape)}")
        pixels = image.to(self.mean.dtype) / 255 if image.dtype == torch.uint8 else image.to(self.mean.dtype)
        if pixels.shape[1] != self.spec.channels:
            pixels = pixels.expand(-1, 3, -1, -1) if self.spec.channels == 3 else _to_grey(pixels)
        if self.spec.size is not None and tuple(pixels.shape[2:]) != self.spec.size:
            pixels = interpolate(pixels, self.spec.size, mode="bilinear", antialias=True)
        return (pixels - self.mean) / self.std


class Change(NamedTuple):
    """What was done to the structure of a network after it was built.

    Attributes:
        name: A name in `understudy.models.CHANGES`.
        settings: What repeats it: numbers, words and lists.
    """

    name: str
    settings: dict[str, Any]


class Classifier(nn.Module):
    """A network that takes raw pixels, so that teacher and student may want different input.

    The state dict and the layer names (see `understudy.taps`) are those of `network` behind the prefix `network.`.

    Args:
        network: Normalised images (batch, channels, height, width) -> logits (batch, classes).
        spec: What the network wants to see.
        classes: Class names in the order of the logits.
        name: The name it was created by, as `create_model` takes it.
        settings: The architecture settings it was created with.
        changes: What was done to the structure of the network since then, in order.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        spec: InputSpec,
        classes: Sequence[str],
        name: str = "custom",
        settings: dict[str, Any] | None = None,
        changes: Sequence[Change] = (),
    ) -> None:
        super().__init__()
        self.preprocess = Preprocess(spec)
        self.network = network
        self.spec = spec
        self.classes = tuple(map(str, classes))
        self.name = name
        self.settings = dict(settings or {})
        self.changes = tuple(changes)

    def forward(self, image: Tensor) -> Tensor:
        """Pixels (batch, channels, height, width), uint8 in 0..255 or float in 0..1 -> logits (batch, classes)."""
        return self.network(self.preprocess(image))


def _to_grey(pixels: Tensor) -> Tensor:
    weights = pixels.new_tensor(LUMA).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)
