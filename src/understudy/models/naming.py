"""What a model name stands for."""

from understudy.models.base import MODELS
from understudy.models.from_file import FileSource
from understudy.models.from_timm import TimmSource
from understudy.models.from_torchvision import TorchvisionSource
from understudy.models.own import OwnSource
from understudy.models.source import Source

PATTERNS = ("torchvision:NAME", "timm:NAME", "PATH/FILE.py:FUNCTION")


def model_names() -> list[str]:
    """The registered names, then the patterns that lead to other libraries and to files."""
    return [*MODELS.names(), *PATTERNS]


def find_source(name: str) -> Source:
    """Where the network called `name` comes from.

    Raises:
        UserError: Nothing has this name.
    """
    if name.startswith("torchvision:"):
        return TorchvisionSource(name)
    if name.startswith("timm:"):
        return TimmSource(name)
    if name.rpartition(":")[0].endswith(".py"):
        return FileSource(name)
    return OwnSource(name)
