"""The registry of this package's own architectures."""

from collections.abc import Callable

from torch import nn

from understudy.registry import Registry

Builder = Callable[..., nn.Module]
"""`(*, num_classes, in_channels=3, <architecture settings with defaults>) -> network`; the signature is the schema."""


class ModelRegistry(Registry[Builder]):
    """Builders by name, with the image size each is meant for.

    Attributes:
        default_sizes: Height and width in pixels by model name.
    """

    def __init__(self) -> None:
        super().__init__("model", "understudy.models")
        self.default_sizes: dict[str, int] = {}


MODELS = ModelRegistry()


def register_model(name: str, *, default_size: int) -> Callable[[Builder], Builder]:
    """Decorator: make a builder available to `create_model` as `name`.

    Args:
        name: What users write.
        default_size: Height and width in pixels of the images the architecture is meant for.
    """
    MODELS.default_sizes[name] = default_size
    return MODELS.register(name)
