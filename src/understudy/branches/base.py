"""What an exit head is, and how a network carries its heads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from understudy.errors import UserError
from understudy.layout import as_map
from understudy.registry import Registry
from understudy.user_file import UserFunction

ATTRIBUTE = "exits"
"""Under this name a network carries its `Branches`."""

IN_A_FILE = ".py:"


class Place(NamedTuple):
    """Where a head stands.

    Attributes:
        shape: (channels, height, width) of the layer that it reads.
        deepest: Height and width of the network's last map, behind the channels that its own head reads.
        num_classes: Number of logits.
    """

    shape: tuple[int, int, int]
    deepest: tuple[int, int, int]
    num_classes: int

    @property
    def shrink(self) -> int:
        """How many times the layer's map is as high and wide as the last map, rounded, at least 1."""
        sides = self.shape[1] * self.shape[2], self.deepest[1] * self.deepest[2]
        return max(1, round((sides[0] / sides[1]) ** 0.5))


HEADS: Registry[Callable[..., nn.Module]] = Registry("head", "understudy.branches")
"""`(place, *, <settings with defaults>) -> module` from maps (batch, channels, height, width) to logits, by name."""

register_head = HEADS.register
"""Decorator: make a builder of heads available as `student.exit_heads=NAME`; its signature is the schema."""


def make_head(name: str, place: Place, settings: Mapping[str, Any]) -> nn.Module:
    """A head with fresh weights.

    Args:
        name: A registered name, or `PATH/FILE.py:FUNCTION`: a function that takes `shape`, `deepest` and `num_classes`
            (see `Place`) besides its own settings and returns a module from maps to logits.
        place: Where it stands.
        settings: Keyword arguments of the builder.

    Raises:
        UserError: There is none of this name, a setting is wrong, or the function gives no head.
    """
    try:
        if IN_A_FILE in name:
            head = UserFunction(name)(**place._asdict(), **settings)
        else:
            head = HEADS.get(name)(place, **settings)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"student.exit_heads: '{name}' cannot be made: {error}") from error
    if not isinstance(head, nn.Module) or _last_layer(head) is None:
        raise UserError(f"'{name}' gives a {type(head).__name__}, not a module with a linear layer or a convolution")
    return head


class Branches(nn.Module):
    """The heads of a network, in the order of depth of what they read.

    A network carries them as a child of its own, so that its own keys and its own output stay what they were. They run
    only when they are asked (see `understudy.taps.EXITS` and `understudy.exits.predict`).

    Args:
        points: Module paths of the layers that are read, from shallow to deep.
        heads: One for each.
        main: Module path of the layer that makes the network's own logits.
    """

    def __init__(self, points: Sequence[str], heads: Sequence[nn.Module], main: str) -> None:
        super().__init__()
        self.points = tuple(points)
        self.heads = nn.ModuleList(heads)
        self.main = main

    def forward(self, value: Any) -> Any:
        """Pass on what is given: in an `nn.Sequential` they are one layer more."""
        return value

    def answer(self, number: int, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (batch, classes) of one head.

        Args:
            number: Of the head, from 0.
            feature: What its layer gave, (batch, ...).
            size: Height and width of the image that the network saw.
        """
        feature = as_map(feature, size)
        return self.heads[number](feature[:, :, None, None] if feature.ndim == 2 else feature)

    def readers(self) -> tuple[str, ...]:
        """Module paths of the layers that make the logits of each head, and last of the network itself."""
        paths = [f"{ATTRIBUTE}.heads.{number}.{_last_layer(head)}" for number, head in enumerate(self.heads)]
        return (*(path.rstrip(".") for path in paths), self.main)


def branches_of(network: nn.Module) -> Branches | None:
    """The heads at the early exits of a network; None if it has none."""
    found = getattr(network, ATTRIBUTE, None)
    return found if isinstance(found, Branches) else None


def pooled(feature: Tensor) -> Tensor:
    """One vector (batch, channels) for each image: what is read of a map or of tokens, averaged over places."""
    return feature if feature.ndim == 2 else feature.flatten(2).mean(2)


def _last_layer(head: nn.Module) -> str | None:
    """Path of the last linear layer of a head, or without one of the last convolution."""
    for kind in (nn.Linear, nn.Conv2d):
        paths = [path for path, module in head.named_modules() if isinstance(module, kind)]
        if paths:
            return cast("str", paths[-1])
    return None
