"""What a model name stands for."""

import os
from pathlib import Path

from understudy.errors import UserError
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
    if ("/" in name or os.sep in name) and name not in MODELS:
        if Path(name).is_file():
            raise UserError(f"'{name}' is no saved model: name the model and give the file as weights")
        raise UserError(f"no such run directory or file '{name}': check the path")
    return OwnSource(name)
