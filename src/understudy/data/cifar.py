"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) as their authors pack them, where torchvision puts them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.data.archive import fetch
from understudy.data.base import DATASETS, ImageData, describe
from understudy.data.partition import arrange
from understudy.data.splits import PixelSplit
from understudy.errors import UserError

URL = "https://www.cs.toronto.edu/~kriz"
MEAN_10, STD_10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MEAN_100, STD_100 = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "encode"})


@DATASETS.register("cifar10")
def cifar10(*, root: str = "data", validation: float = 0.1, split_seed: int = 0, download: bool = True) -> ImageData:
    """50,000 training and 10,000 test photographs of 32x32 pixels in 10 classes.

    Args:
        root: The folder that holds `cifar-10-batches-py`.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.
        download: Fetch the archive if the folder is missing.

    Raises:
        UserError: The data are missing or damaged.
    """
    place = Path(root, "cifar-10-batches-py")
    sha256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    fetch(place, f"{URL}/cifar-10-python.tar.gz", sha256=sha256, download_missing=download)
    found = {
        "train": _read_split(place, [f"data_batch_{number}" for number in range(1, 6)], "labels"),
        "test": _read_split(place, ["test_batch"], "labels"),
    }
    splits = arrange(found, validation=validation, test=0, seed=split_seed)
    classes = _unpickle(place / "batches.meta")["label_names"]
    return describe("cifar10", classes, splits=splits, mean=MEAN_10, std=STD_10)


@DATASETS.register("cifar100")
def cifar100(*, root: str = "data", validation: float = 0.1, split_seed: int = 0, download: bool = True) -> ImageData:
    """50,000 training and 10,000 test photographs of 32x32 pixels in 100 classes.

    Args:
        root: The folder that holds `cifar-100-python`.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.
        download: Fetch the archive if the folder is missing.

    Raises:
        UserError: The data are missing or damaged.
    """
    place = Path(root, "cifar-100-python")
    sha256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    fetch(place, f"{URL}/cifar-100-python.tar.gz", sha256=sha256, download_missing=download)
    found = {name: _read_split(place, [name], "fine_labels") for name in ("train", "test")}
    splits = arrange(found, validation=validation, test=0, seed=split_seed)
    classes = _unpickle(place / "meta")["fine_label_names"]
    return describe("cifar100", classes, splits=splits, mean=MEAN_100, std=STD_100)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads lists, strings and NumPy arrays: a pickle from the network must not name anything else to call."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name.partition(".")[0] not in ("numpy", "_codecs") or global_name not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to load {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"cannot read {path} ({error}): remove {path.parent} and unpack it again") from error


def _read_split(place: Path, names: list[str], labels_key: str) -> PixelSplit:
    batches = [_unpickle(place / name) for name in names]
    try:
        pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = [label for batch in batches for label in batch[labels_key]]
    except (KeyError, ValueError) as error:
        raise UserError(f"{place} holds something else ({error}): remove it and unpack the archive again") from error
    return PixelSplit(torch.from_numpy(pixels), torch.tensor(labels))
