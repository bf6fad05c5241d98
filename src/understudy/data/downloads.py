"""Small sets of photographs that come as one archive of class folders."""

from dataclasses import replace
from pathlib import Path

from understudy.classifier import IMAGENET_MEAN, IMAGENET_STD
from understudy.data.archive import fetch
from understudy.data.base import DATASETS, ImageData
from understudy.data.folder import folder

HYMENOPTERA_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
HYMENOPTERA_SHA256 = "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209"
FASTAI_URL = "https://s3.amazonaws.com/fast-ai-imageclas"


@DATASETS.register("hymenoptera")
def hymenoptera(
    *,
    root: str = "data",
    validation: float = 0.1,
    split_seed: int = 0,
    url: str = HYMENOPTERA_URL,
    sha256: str | None = None,
    download: bool = True,
) -> ImageData:
    """About 400 photographs of ants and bees, from PyTorch's tutorial on transfer learning; val is the test split.

    Args:
        root: The folder that holds `hymenoptera_data`.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.
        url: The archive: a URL, also `file://`, or a path.
        sha256: Checksum of the archive; by default that of the published one, and none for another `url`.
        download: Fetch the archive if the folder is missing.

    Raises:
        UserError: The data are missing or damaged.
    """
    place = Path(root, "hymenoptera_data")
    known = HYMENOPTERA_SHA256 if url == HYMENOPTERA_URL else None
    fetch(place, url, sha256=sha256 or known, download_missing=download)
    return _photographs("hymenoptera", place, validation, split_seed)


@DATASETS.register("imagewoof")
def imagewoof(
    *,
    root: str = "data",
    validation: float = 0.1,
    split_seed: int = 0,
    url: str = f"{FASTAI_URL}/imagewoof2-160.tgz",
    sha256: str | None = None,
    download: bool = True,
) -> ImageData:
    """Ten breeds of dogs from ImageNet, shorter side 160 pixels (Howard, 2019); val is the test split.

    Args:
        root: The folder that holds `imagewoof2-160`.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.
        url: The archive: a URL, also `file://`, or a path.
        sha256: Checksum of the archive; its authors publish none, so by default it is not checked.
        download: Fetch the archive if the folder is missing.

    Raises:
        UserError: The data are missing or damaged.
    """
    place = Path(root, "imagewoof2-160")
    fetch(place, url, sha256=sha256, download_missing=download)
    return _photographs("imagewoof", place, validation, split_seed)


@DATASETS.register("imagenette")
def imagenette(
    *,
    root: str = "data",
    validation: float = 0.1,
    split_seed: int = 0,
    url: str = f"{FASTAI_URL}/imagenette2-160.tgz",
    sha256: str | None = None,
    download: bool = True,
) -> ImageData:
    """Ten easy classes of ImageNet, shorter side 160 pixels (Howard, 2019); val is the test split.

    Args:
        root: The folder that holds `imagenette2-160`.
        validation: Share of the training images to select with.
        split_seed: Chooses the validation images.
        url: The archive: a URL, also `file://`, or a path.
        sha256: Checksum of the archive; its authors publish none, so by default it is not checked.
        download: Fetch the archive if the folder is missing.

    Raises:
        UserError: The data are missing or damaged.
    """
    place = Path(root, "imagenette2-160")
    fetch(place, url, sha256=sha256, download_missing=download)
    return _photographs("imagenette", place, validation, split_seed)


def _photographs(name: str, place: Path, validation: float, split_seed: int) -> ImageData:
    data = folder(path=str(place), validation=validation, split_seed=split_seed, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return replace(data, name=name)
