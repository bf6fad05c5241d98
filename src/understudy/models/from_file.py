"""Networks of a user's own Python file: `path/file.py:function`."""

import inspect
from collections.abc import Mapping

from torch import nn

from understudy.errors import UserError
from understudy.models.source import Built, Source, check_settings
from understudy.user_file import UserFunction


class FileSource(Source):
    """A function `(num_classes, [in_channels,] **settings) -> network` in a Python file.

    Args:
        name: Path of the file, colon, name of the function.

    Raises:
        UserError: The file or the function is not there, or the file cannot be imported.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._builder = UserFunction(name)

    def build(self, *, num_classes: int, channels: int, settings: Mapping[str, object], download: bool) -> Built:
        """What the function returns; without `in_channels` the first convolution tells the number of channels."""
        assert not download, "create_model refuses this"
        check_settings(self.name, self._builder.function, settings)
        options: dict[str, object] = {"num_classes": num_classes, **settings}
        takes_channels = "in_channels" in inspect.signature(self._builder.function).parameters
        if takes_channels:
            options["in_channels"] = channels
        network = self._builder(**options)
        if not isinstance(network, nn.Module):
            raise UserError(f"'{self.name}' returned {type(network).__name__}: return a torch.nn.Module")
        return Built(network, channels if takes_channels else _first_channels(network, channels))

    def default_size(self) -> int:
        """224: the file does not say."""
        return 224


def _first_channels(network: nn.Module, default: int) -> int:
    convs = (module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
    return next(convs, default)
