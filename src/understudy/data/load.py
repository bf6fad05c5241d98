"""Anything a user may call data -> `ImageData`."""

import inspect
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.data.base import DATASETS, ImageData
from understudy.data.own import from_datasets
from understudy.errors import UserError, did_you_mean

HUB_PREFIX = "hf:"
FUNCTION = re.compile(r".+\.py:\w+")
# Chosen by what stands in their place.
BY_PLACE = frozenset({"folder", "csv", "custom", "huggingface"})


def load_data(
    data: str | Path | ImageData | tuple[Any, Any], *, settings: Mapping[str, Any] | None = None
) -> ImageData:
    """Load a data set by whatever says which.

    Args:
        data: A registered name, a folder of images, a CSV file, `hf:NAME`, `file.py:function`, a pair of training and
            test Dataset, or `ImageData`, which is returned as it is.
        settings: Keyword arguments of the source, such as `validation` and `split_seed`.

    Raises:
        UserError: There is no such data set or setting.
    """
    if isinstance(data, ImageData):
        return data
    if isinstance(data, tuple):
        train, test = data
        return from_datasets(train, test, **(settings or {}))
    name, place = resolve_source(str(data))
    source = DATASETS.get(name)
    chosen = {**place, **(settings or {})}
    parameters = inspect.signature(source).parameters
    for key in chosen:
        if key not in parameters:
            raise UserError(f"data set '{name}' has no setting '{key}': {did_you_mean(key, parameters)}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in chosen:
            raise UserError(f"data set '{name}' needs the setting '{key}': set data.{key}")
    return source(**chosen)


def resolve_source(data: str) -> tuple[str, dict[str, str]]:
    """The registered source that reads `data`, and the settings that follow from it.

    Raises:
        UserError: There is no such folder, file or data set.
    """
    if data in DATASETS:
        return data, {}
    if data.startswith(HUB_PREFIX):
        return "huggingface", {"path": data.removeprefix(HUB_PREFIX)}
    if FUNCTION.fullmatch(data):
        return "custom", {"path": data}
    if Path(data).is_dir():
        return "folder", {"path": data}
    if Path(data).is_file() and data.endswith(".csv"):
        return "csv", {"path": data}
    raise UserError(_unknown(data))


def _unknown(data: str) -> str:
    if Path(data).exists():
        return f"'{data}' is neither a folder nor a CSV file: name a folder of images, a .csv or file.py:function"
    if "/" in data or os.sep in data:
        return f"no such folder or file '{data}': check the path"
    names = set(DATASETS.names()) - BY_PLACE
    return f"no such folder or file '{data}' and no data set of that name: {did_you_mean(data, names)}"
