"""What the benchmarks work on: CIFAR-10 images, a ResNet-56 that teaches, a ResNet-20 that learns.

Without files the images and the weights are random: the work is the same.
"""

import argparse
from pathlib import Path

import torch

from understudy.classifier import Classifier
from understudy.data import ImageData, PixelSplit, load_data
from understudy.data.archive import extract
from understudy.data.resident import make_resident
from understudy.models import create_model

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
# Ignored by git.
UNPACKED = ROOT / "data"
BATCH = 128
RANDOM = "random"


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--images`, `--teacher` and `--batch`, the same for all benchmarks; the shared files where they are present."""
    images, teacher = SHARED / "cifar10-jpeg.tar.gz", SHARED / "resnet56-cifar10-jpeg.safetensors"
    parser.add_argument(
        "--images",
        default=str(images) if images.exists() else RANDOM,
        help="image folder with train/ and test/, an archive of one, or `random`; by default %(default)s",
    )
    parser.add_argument(
        "--teacher",
        default=str(teacher) if teacher.exists() else RANDOM,
        help="ResNet-56 weights for padding shortcuts, or `random`; by default %(default)s",
    )
    parser.add_argument("--batch", type=int, default=BATCH, help="images in a batch; by default %(default)s")


def load(images: str, count: int, *, held_out: int = BATCH) -> ImageData:
    """Training images in memory, the same ones in every process.

    Args:
        images: A folder, an archive, which is unpacked once into `data/`, or `random`.
        count: How many training images, drawn at random from all there are.
        held_out: How many of them stand for validation and test, whose speed is not measured.
    """
    if images == RANDOM:
        generator = torch.Generator().manual_seed(0)
        classes = tuple(map(str, range(10)))
        pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = torch.arange(count) % 10
    else:
        found = load_data(str(_folder(Path(images))))
        order = torch.randperm(len(found.train), generator=torch.Generator().manual_seed(0))
        # Longer runs than one pass over the data see images again.
        chosen = found.train.subset(order.repeat(count // len(order) + 1)[:count])
        classes, pixels, labels = found.classes, make_resident(chosen, size=32, channels=3), chosen.labels
    train, few = PixelSplit(pixels, labels), PixelSplit(pixels[:held_out], labels[:held_out])
    return ImageData("benchmark", classes, train, few, few, 32, 3, *_statistics())


def networks(weights: str, classes: tuple[str, ...]) -> tuple[Classifier, Classifier]:
    """Teacher and student; they want images normalised alike.

    Args:
        weights: Of the teacher, or `random`.
        classes: Class names in the order of the logits.
    """
    torch.manual_seed(0)
    file = None if weights == RANDOM else weights
    teacher = create_model("resnet56", classes=classes, weights=file, settings={"shortcut": "padding"})
    return teacher, create_model("resnet20", classes=classes)


def _folder(source: Path) -> Path:
    if source.is_dir():
        return source
    target = UNPACKED / source.name.split(".")[0]
    if not target.is_dir():
        UNPACKED.mkdir(exist_ok=True)
        extract(source, target)
    return target


def _statistics() -> tuple[tuple[float, ...], tuple[float, ...]]:
    spec = create_model("resnet20", classes=10).spec
    return spec.mean, spec.std
