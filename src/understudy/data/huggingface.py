"""Image data sets of the Hugging Face `datasets` library."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from understudy.data.base import DATASETS, ImageData, Split, describe
from understudy.data.partition import WHOLE, arrange
from understudy.data.splits import DatasetSplit
from understudy.errors import UserError

LABEL_NAMES = ("label", "labels", "class", "fine_label")
SAVED = ("dataset_dict.json", "state.json")


@DATASETS.register("huggingface")
def huggingface(
    *,
    path: str,
    image_column: str | None = None,
    label_column: str | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    split_seed: int = 0,
) -> ImageData:
    """A data set of the hub, one written by `save_to_disk`, or a folder in the layout of `imagefolder`.

    Args:
        path: Name on the hub or folder.
        image_column: Column of the images; by default the one of type Image.
        label_column: Column of the labels; by default the one of type ClassLabel, or one called label.
        validation: Share of the training images to select with, where there is no split for it.
        test: Share of all images to report on, where there is only one split.
        split_seed: Chooses the images of these shares.

    Raises:
        UserError: The library or the data are missing, or the columns cannot be told.
    """
    loaded = _load(path)
    parts: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else {WHOLE: loaded}
    if len(parts) == 1:
        parts = {WHOLE: next(iter(parts.values()))}
    features = next(iter(parts.values())).features
    image = image_column or _one_column(features, "Image", (), path)
    label = label_column or _one_column(features, "ClassLabel", LABEL_NAMES, path)
    for column in (image, label):
        if column not in features:
            raise UserError(f"'{path}' has no column '{column}': choose from {', '.join(features)}")
    classes = _classes(parts, label)
    found = {name: _split(part, image, label, classes) for name, part in parts.items()}
    splits = arrange(found, validation=validation, test=test, seed=split_seed)
    return describe(Path(path).name, classes, splits=splits)


class _Pairs:
    """Rows of a table as (image, class id)."""

    def __init__(self, table: Any, image: str, labels: list[int]) -> None:
        self.table = table
        self.image = image
        self.targets = labels

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.table[index][self.image], self.targets[index]


def _load(path: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"'{path}' needs the library datasets: pip install 'understudy[hf]'") from error
    place = Path(path)
    try:
        if any((place / name).is_file() for name in SAVED):
            return datasets.load_from_disk(path)
        if place.is_dir():
            return datasets.load_dataset("imagefolder", data_dir=path)
        return datasets.load_dataset(path)
    # The library raises many kinds of error, its own and those of the network.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"cannot load '{path}' ({reason}): check the name and the network, or pass a folder written by save_to_disk"
        ) from error


def _one_column(features: Mapping[str, Any], kind: str, names: tuple[str, ...], path: str) -> str:
    typed = [column for column, feature in features.items() if type(feature).__name__ == kind]
    named = [column for column in names if column in (typed or features)]
    if len(typed) == 1 or (typed and not names):
        return typed[0]
    if named:
        return named[0]
    option = "image_column" if kind == "Image" else "label_column"
    raise UserError(f"cannot tell which column of '{path}' to use: set {option} to one of {', '.join(features)}")


def _classes(parts: Mapping[str, Any], label: str) -> list[str]:
    feature = next(iter(parts.values())).features[label]
    if type(feature).__name__ == "ClassLabel":
        return list(feature.names)
    return sorted({str(value) for part in parts.values() for value in part[label]})


def _split(part: Any, image: str, label: str, classes: list[str]) -> Split:
    ids = {name: index for index, name in enumerate(classes)}
    is_named = type(part.features[label]).__name__ == "ClassLabel"
    labels = [value if is_named else ids[str(value)] for value in part[label]]
    # The library's own hash of the table, which survives saving and loading.
    identity: str | None = getattr(part, "_fingerprint", None)
    return DatasetSplit(_Pairs(part, image, labels), labels=torch.tensor(labels), identity=identity)
