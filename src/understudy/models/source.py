"""Where networks come from."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import nn

from understudy.classifier import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from understudy.errors import UserError, did_you_mean


class Built(NamedTuple):
    """A network that was just built.

    Attributes:
        network: The network.
        channels: Channels of the images it takes.
        size: (height, width) if it takes no other, otherwise None.
    """

    network: nn.Module
    channels: int
    size: tuple[int, int] | None = None


class Source(ABC):
    """One model name: builds its network, and knows the preprocessing of its published weights.

    Args:
        name: The name as the user writes it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def build(self, *, num_classes: int, channels: int, settings: Mapping[str, object], download: bool) -> Built:
        """The network, with its published weights where `download` is set.

        Args:
            num_classes: Number of logits.
            channels: Channels of the images; a source with a fixed number ignores it.
            settings: Architecture settings.
            download: Fetch the published weights; the head is fresh if its number of classes differs.

        Raises:
            UserError: A setting is unknown, or the weights cannot be fetched.
        """

    @abstractmethod
    def default_size(self) -> int:
        """Height and width in pixels that images should have."""

    def published(self) -> InputSpec | None:
        """The preprocessing of the published weights; None if there are none."""
        return None

    def weights_place(self) -> Path | None:
        """The file that published weights are read from, which may not be there yet; None where that is not known."""
        return None

    def published_classes(self) -> list[tuple[str, ...]]:
        """Class names of the published weights in the order of the logits, in each vocabulary that is known."""
        return []


def imagenet_classes(subset: str = "imagenet-1k") -> list[tuple[str, ...]]:
    """ImageNet's classes in words, up to the first comma, and as WordNet ids.

    Args:
        subset: As timm calls it.
    """
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo(subset)
    words = tuple(str(text).partition(",")[0] for text in info.label_descriptions())
    return [words, tuple(info.label_names())]


def fresh_spec(channels: int) -> InputSpec:
    """Preprocessing of a network without published weights: ImageNet's statistics for colour, 0.5 for grey."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    return InputSpec(channels=channels, mean=mean, std=std)


def check_settings(name: str, builder: Callable[..., object], settings: Mapping[str, object]) -> None:
    """Refuse settings that `builder` does not take.

    Raises:
        UserError: One is unknown; the message names the closest.
    """
    parameters = inspect.signature(builder).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = set(parameters) - {"num_classes", "in_channels"}
    for setting in settings:
        if setting not in known:
            raise UserError(f"model '{name}' has no setting '{setting}': {did_you_mean(setting, known)}")
