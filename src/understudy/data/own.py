"""A user's own data: map-style Datasets, from Python or from a function in a file."""

from typing import Any

from understudy.data.base import DATASETS, ImageData, Split, describe
from understudy.data.partition import arrange
from understudy.data.splits import DatasetSplit
from understudy.errors import UserError
from understudy.user_file import UserFunction


@DATASETS.register("custom")
def custom(*, path: str, validation: float = 0.1, split_seed: int = 0) -> ImageData:
    """What a function in a file returns: `ImageData`, or a pair of training and test Dataset.

    Args:
        path: `file.py:function`; the function takes no arguments.
        validation: Share of the training images to select with, where a pair of Datasets is returned.
        split_seed: Chooses the validation images.

    Raises:
        UserError: There is no such function, it fails, or it returns something else.
    """
    function = UserFunction(path)
    result = function()
    if isinstance(result, ImageData):
        return result
    if isinstance(result, tuple) and len(result) == 2:
        train, test = result
        return from_datasets(train, test, name=function.path.stem, validation=validation, split_seed=split_seed)
    raise UserError(f"{path} returned a {type(result).__name__}: return (train, test) datasets or ImageData")


def from_datasets(
    train: Any, test: Any, *, name: str = "custom", validation: float = 0.1, split_seed: int = 0
) -> ImageData:
    """Use a user's training and test Dataset; see `DatasetSplit` for what they must be.

    Args:
        train: Map-style Dataset of (image, class id), or a `Split`. Its attribute `classes` names the classes; without
            it they are called by their ids.
        test: The same, to report on.
        name: What the data set is called.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.

    Raises:
        UserError: A label is not the id of a class.
    """
    found: dict[str, Split] = {
        key: value if isinstance(value, Split) else DatasetSplit(value)
        for key, value in (("train", train), ("test", test))
    }
    classes = _classes(train, found)
    splits = arrange(found, validation=validation, test=0, seed=split_seed)
    return describe(name, classes, splits=splits)


def _classes(train: Any, found: dict[str, Split]) -> list[str]:
    ids = [label for split in found.values() for label in split.labels.unique().tolist()]
    named = getattr(train, "classes", None)
    names = (
        [str(name) for name in named] if named is not None else [str(label) for label in range(max(ids, default=0) + 1)]
    )
    for label in ids:
        if not 0 <= label < len(names):
            raise UserError(f"label {label} of the data is not the id of one of {len(names)} classes: count from 0")
    return names
