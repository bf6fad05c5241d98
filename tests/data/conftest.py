"""Archives and splits that several tests read."""

import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from published_formats import write_folder

from understudy.data import PixelSplit


@pytest.fixture
def hymenoptera_zip(tmp_path: Path) -> Path:
    source = write_folder(tmp_path / "source", ["train", "val"], num=4, suffix=".jpg")
    # The published archive has one.
    Image.new("P", (5, 5)).save(source / "train" / "ants" / "imageNotFound.gif")
    archive = tmp_path / "hymenoptera_data.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in sorted(source.rglob("*.*")):
            packed.write(file, Path("hymenoptera_data", file.relative_to(source)))
    return archive


@pytest.fixture
def imagewoof_tgz(tmp_path: Path) -> Path:
    classes = ["n02086240", "n02087394", "n02088364"]
    source = write_folder(tmp_path / "woof", ["train", "val"], classes=classes, num=4, suffix=".JPEG")
    (source / "noisy_imagewoof.csv").write_text("path,noisy_labels_0\n")
    archive = tmp_path / "imagewoof2-160.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source, "imagewoof2-160")
    return archive


@pytest.fixture
def pixel_split() -> PixelSplit:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return PixelSplit(pixels, torch.arange(50) % 5)
