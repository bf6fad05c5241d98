"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017) in IDX files, where torchvision puts them."""

import gzip
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy.data.archive import download
from understudy.data.base import DATASETS, ImageData, Splits, describe
from understudy.data.partition import arrange
from understudy.data.splits import PixelSplit
from understudy.errors import UserError

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
# No https: the authors' bucket serves a website. The checksums guard the content.
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_SHA256 = {
    "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
# In the order of the published class ids.
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
UNSIGNED_BYTE = 8


@DATASETS.register("mnist")
def mnist(*, root: str = "data", validation: float = 0.1, split_seed: int = 0, download: bool = True) -> ImageData:
    """60,000 training and 10,000 test images of handwritten digits, grey, 28x28 pixels.

    Args:
        root: The folder that holds `MNIST/raw`.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.
        download: Fetch files that are missing.

    Raises:
        UserError: The data are missing or damaged.
    """
    place = Path(root, "MNIST", "raw")
    arrays = {name: _read(place, name, sha256, MNIST_URL * download) for name, sha256 in MNIST_SHA256.items()}
    classes = [str(digit) for digit in range(10)]
    splits = _splits(arrays, validation=validation, seed=split_seed)
    return describe("mnist", classes, splits=splits, mean=(0.1307,), std=(0.3081,))


@DATASETS.register("fashion-mnist")
def fashion_mnist(
    *, root: str = "data", validation: float = 0.1, split_seed: int = 0, download: bool = True
) -> ImageData:
    """60,000 training and 10,000 test images of clothes, grey, 28x28 pixels; classes in the published order.

    Args:
        root: The folder that holds `FashionMNIST/raw`.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.
        download: Fetch files that are missing.

    Raises:
        UserError: The data are missing or damaged.
    """
    place = Path(root, "FashionMNIST", "raw")
    arrays = {name: _read(place, name, sha256, FASHION_URL * download) for name, sha256 in FASHION_SHA256.items()}
    splits = _splits(arrays, validation=validation, seed=split_seed)
    return describe("fashion-mnist", FASHION_CLASSES, splits=splits, mean=(0.2860,), std=(0.3530,))


def _splits(arrays: dict[str, Tensor], *, validation: float, seed: int) -> Splits:
    found = {
        name: PixelSplit(arrays[f"{prefix}-images-idx3-ubyte"].unsqueeze(1), arrays[f"{prefix}-labels-idx1-ubyte"])
        for name, prefix in (("train", "train"), ("test", "t10k"))
    }
    return arrange(found, validation=validation, test=0, seed=seed)


def _read(place: Path, name: str, sha256: str, url: str) -> Tensor:
    """Read an IDX file, unpacked or gzipped; without a `url` nothing is downloaded."""
    plain, packed = place / name, place / f"{name}.gz"
    if not plain.is_file() and not packed.is_file():
        _fetch(packed, url, sha256)
    path = plain if plain.is_file() else packed
    try:
        content = path.read_bytes() if path is plain else gzip.decompress(path.read_bytes())
        return _parse(content)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}): remove it to download it again") from error


def _fetch(path: Path, url: str, sha256: str) -> None:
    advice = f"put {path.name} there, as it is published"
    if not url:
        raise UserError(f"{path} is missing: {advice}, or allow the download")
    try:
        download(f"{url}/{path.name}", path, sha256=sha256)
    except UserError as error:
        raise UserError(f"{path} is missing and {error}: {advice}") from error


def _parse(content: bytes) -> Tensor:
    # Two zero bytes, the type, the number of dimensions, their sizes as big-endian int32, the values.
    if len(content) < 4 or content[:3] != bytes((0, 0, UNSIGNED_BYTE)):
        raise ValueError("not an IDX file of unsigned bytes")
    num_dims = content[3]
    shape = np.frombuffer(content, ">i4", num_dims, offset=4).tolist()
    start = 4 + 4 * num_dims
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{len(content) - start} values for the shape {shape}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
