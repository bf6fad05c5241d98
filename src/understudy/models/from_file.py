"""Networks of a user's own Python file: `path/file.py:function`."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from understudy.errors import UserError
from understudy.models.source import Built, Source, check_settings


class FileSource(Source):
    """A function `(num_classes, [in_channels,] **settings) -> network` in a Python file.

    Args:
        name: Path of the file, colon, name of the function.

    Raises:
        UserError: The file or the function is not there.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        path, _, function = name.rpartition(":")
        self._builder = _function(Path(path), function)

    def build(self, *, num_classes: int, channels: int, settings: Mapping[str, object], download: bool) -> Built:
        """What the function returns; without `in_channels` the first convolution tells the number of channels."""
        assert not download, "create_model refuses this"
        check_settings(self.name, self._builder, settings)
        options: dict[str, object] = {"num_classes": num_classes, **settings}
        takes_channels = "in_channels" in inspect.signature(self._builder).parameters
        if takes_channels:
            options["in_channels"] = channels
        network = self._builder(**options)
        if not isinstance(network, nn.Module):
            raise UserError(f"'{self.name}' returned {type(network).__name__}: return a torch.nn.Module")
        return Built(network, channels if takes_channels else _first_channels(network, channels))

    def default_size(self) -> int:
        """224: the file does not say."""
        return 224


def _function(path: Path, name: str) -> Callable[..., object]:
    if not path.is_file():
        raise UserError(f"no file '{path}': write PATH/FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(f"understudy_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look a class's module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"'{path}' has no function '{name}': define it, it takes num_classes and returns the network")
    return function


def _first_channels(network: nn.Module, default: int) -> int:
    convs = (module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
    return next(convs, default)
