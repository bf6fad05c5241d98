"""Networks of this package and of plug-ins, by name."""

from collections.abc import Mapping

from understudy.errors import UserError
from understudy.models.base import MODELS
from understudy.models.source import Built, Source, check_settings


class OwnSource(Source):
    """A registered builder.

    Args:
        name: A name in `MODELS`.

    Raises:
        UserError: There is no such name; the message names the closest, or the library that has it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        if name not in MODELS and _in_torchvision(name):
            raise UserError(f"unknown model '{name}': did you mean 'torchvision:{name}'?")
        self._builder = MODELS.get(name)

    def build(self, *, num_classes: int, channels: int, settings: Mapping[str, object], download: bool) -> Built:
        """The registered network; there is nothing to download."""
        assert not download, "create_model refuses this"
        check_settings(self.name, self._builder, settings)
        return Built(self._builder(num_classes=num_classes, in_channels=channels, **settings), channels)

    def default_size(self) -> int:
        """As registered; 32 for plug-ins that do not say."""
        return MODELS.default_sizes.get(self.name, 32)


def _in_torchvision(name: str) -> bool:
    import torchvision

    return name in torchvision.models.list_models(module=torchvision.models)
