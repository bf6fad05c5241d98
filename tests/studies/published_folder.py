"""Photographs of ants and bees as the tutorial's archive lays them out."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photographs(root: Path, *, train: int = 16, val: int = 6) -> Path:
    """`root/{train,val}/{ants,bees}/*.jpg`, told apart by their hue, with the stray file of the archive."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for channel, name in enumerate(("ants", "bees")):
            place = root / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (24, 30 + number, 3))
                pixels[..., channel] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.jpg")
    (root / "train" / "ants" / "imageNotFound.gif").write_bytes(b"")
    return root
