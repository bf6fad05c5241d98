"""Labelled images: where they come from, how they are split, augmented and served in batches."""

from understudy.data.augment import AUGMENTATIONS, Augmentation
from understudy.data.base import DATASETS, ImageData, Split
from understudy.data.load import load_data
from understudy.data.loader import Loader, make_loader
from understudy.data.splits import DatasetSplit, FileSplit, PixelSplit
from understudy.data.unlabelled import read_unlabelled

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Augmentation",
    "DatasetSplit",
    "FileSplit",
    "ImageData",
    "Loader",
    "PixelSplit",
    "Split",
    "load_data",
    "make_loader",
    "read_unlabelled",
]
