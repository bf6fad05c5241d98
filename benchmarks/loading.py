"""How fast training images are decoded and augmented: worker processes against batch size.

Each figure is images per second of wall time over some batches, after the first ones, in which workers start. Without
a folder the images are random JPEG files of 256 pixels.

    python -m benchmarks.loading --images path/to/folder --workers 0,1,2,4 --batches 32,128
"""

import argparse
import tempfile
import time
from itertools import chain, count, islice
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import interpolate

from benchmarks.timing import WARM_STEPS
from understudy.data import Loader, Split, load_data, make_loader

RANDOM = "random"


def speed(loader: Loader, batch: int, steps: int) -> float:
    """Images per second over so many batches; epochs follow one another."""
    served = chain.from_iterable(loader.batches(epoch) for epoch in count())
    assert sum(1 for _ in islice(served, WARM_STEPS)) == WARM_STEPS
    start = time.perf_counter()
    images = sum(len(found.image) for found in islice(served, steps))
    assert images == batch * steps
    return images / (time.perf_counter() - start)


def measure(split: Split, *, size: int, augment: str, workers: int, batch: int, steps: int) -> float:
    """Images per second with so many workers; never from memory."""
    loader = make_loader(
        split,
        batch_size=batch,
        size=size,
        channels=3,
        augment=augment,
        train=True,
        device=torch.device("cpu"),
        workers=workers,
        resident=False,
    )
    return speed(loader, batch, steps)


def random_images(folder: Path, num: int, side: int = 256) -> Path:
    """An image folder of two classes with smooth noise, which compresses about as photographs do."""
    generator = torch.Generator().manual_seed(0)
    for number in range(num):
        place = folder / ("ants", "bees")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        coarse = torch.rand(1, 3, side // 8, side // 8, generator=generator)
        pixels = interpolate(coarse, (side, side), mode="bilinear")[0].permute(1, 2, 0)
        Image.fromarray((255 * pixels).byte().numpy()).save(place / f"{number}.jpg")
    return folder


def numbers(text: str) -> list[int]:
    """`0,1,2` as numbers."""
    return [int(word) for word in text.split(",")]


def main(arguments: list[str] | None = None) -> None:
    """Measure every pair and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=RANDOM, help="an image folder, or `random`; by default %(default)s")
    parser.add_argument("--count", type=int, default=512, help="how many random images; by default %(default)s")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels; by default %(default)s")
    parser.add_argument("--augment", default="resized-crop", help="by default %(default)s")
    parser.add_argument("--workers", type=numbers, default=[0, 1, 2], help="processes; 0,1,2")
    parser.add_argument("--batches", type=numbers, default=[32, 128], help="images in a batch; 32,128")
    parser.add_argument("--steps", type=int, default=8, help="batches that are timed; by default %(default)s")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = random_images(Path(folder), options.count) if options.images == RANDOM else options.images
        split = load_data(str(place)).train
        print("| images per second |", " | ".join(f"batch {batch}" for batch in options.batches), "|")
        print("|---" * (len(options.batches) + 1) + "|")
        for workers in options.workers:
            common = {"size": options.size, "augment": options.augment, "workers": workers, "steps": options.steps}
            speeds = [measure(split, batch=batch, **common) for batch in options.batches]
            print(f"| {workers} workers |", " | ".join(f"{found:.0f}" for found in speeds), "|")


if __name__ == "__main__":
    main()
