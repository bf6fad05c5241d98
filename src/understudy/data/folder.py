"""Folders with one folder of images per class, in any of the usual layouts."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from understudy.classifier import IMAGENET_MEAN, IMAGENET_STD
from understudy.data.base import DATASETS, ImageData, describe
from understudy.data.decode import is_image
from understudy.data.partition import VAL_NAMES, WHOLE, arrange
from understudy.data.splits import FileSplit
from understudy.errors import UserError


@DATASETS.register("folder")
def folder(
    *,
    path: str,
    validation: float = 0.1,
    test: float = 0.2,
    split_seed: int = 0,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> ImageData:
    """Images in class folders: `path/train/<class>` with `val` or `test` or both, or `path/<class>` alone.

    Args:
        path: The folder. A single held-out split, `val` or `test`, is the test split.
        validation: Share of the training images to select with, where the layout does not give a split for it.
        test: Share of all images to report on, where there is only `path/<class>`.
        split_seed: Chooses the images of these shares.
        mean: Mean per channel of pixels in 0..1; measured by default.
        std: Standard deviation per channel; measured by default.

    Raises:
        UserError: The folder is missing, empty, or its splits have different classes.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(f"no such folder '{path}': put the images at {path}/train/<class>/ and {path}/val/<class>/")
    roots = _split_roots(root)
    classes = _class_names(next(iter(roots.values())))
    for other in roots.values():
        _check_same(classes, other)
    found = {name: scan(folder, classes) for name, folder in roots.items()}
    splits = arrange(found, validation=validation, test=test, seed=split_seed)
    return describe(root.resolve().name, classes, splits=splits, mean=mean, std=std)


@DATASETS.register("imagenet")
def imagenet(*, path: str = "data/imagenet", validation: float = 0.02, split_seed: int = 0) -> ImageData:
    """ImageNet or a subset of it: `path/train/<wnid>/` and `path/val/<wnid>/`; val is the test split.

    Args:
        path: The folder with train and val. ImageNet is never downloaded: its licence asks everyone to register.
        validation: Share of the training images to select with (25 per class of ImageNet-1k by default).
        split_seed: Chooses the validation images.

    Raises:
        UserError: The folder is missing or has another layout.
    """
    data = folder(path=path, validation=validation, split_seed=split_seed, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return replace(data, name="imagenet")


def scan(root: Path, classes: list[str]) -> FileSplit:
    """List the images below `root/<class>`; files that are no images are ignored.

    Args:
        root: The folder with the class folders.
        classes: Names of the class folders in the order of the class ids.

    Raises:
        UserError: A class folder has no images.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(_images(root / name))
        if not images:
            raise UserError(f"the class folder {root / name} has no images: add some or remove the folder")
        paths += (os.path.relpath(image, root).replace(os.sep, "/") for image in images)
        labels += [label] * len(images)
    return FileSplit(root, paths, torch.tensor(labels))


def _split_roots(root: Path) -> dict[str, Path]:
    known = {name: root / name for name in ("train", *VAL_NAMES, "test") if (root / name).is_dir()}
    if "train" not in known:
        return {WHOLE: root}
    if len(known) == 1:
        raise UserError(f"{root} has train but neither val nor test: add one, or pass {root / 'train'} to divide it")
    return known


def _class_names(root: Path) -> list[str]:
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"no class folders in {root}: expected {root}/<class>/<image>")
    return names


def _check_same(classes: list[str], other: Path) -> None:
    differing = sorted(set(classes) ^ set(_class_names(other)))
    if differing:
        raise UserError(
            f"the splits of {other.parent} do not have the same classes: {', '.join(differing)} not in all of them"
        )


def _images(root: Path) -> Iterator[str]:
    for place, _, names in os.walk(root, followlinks=True):
        yield from (os.path.join(place, name) for name in names if is_image(name))
