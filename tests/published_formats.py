"""Small data sets in the formats of their publishers."""

import gzip
import io
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, *, seed: int, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write_folder(
    root: Path, splits: Sequence[str], *, classes: Sequence[str] = ("bees", "ants"), num: int = 10, suffix: str = ".png"
) -> Path:
    seed = 0
    for split in splits:
        for name in classes:
            for number in range(num):
                seed += 1
                write_image(root / split / name / f"{number}{suffix}", seed=seed)
    return root


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did when the CIFAR files were made."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_str2(self, value: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_str2


def python2_pickle(value: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_cifar(root: Path, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    names = [f"class {label:03}" for label in range(num_classes)]
    if num_classes == 10:
        place, labels, meta, key = "cifar-10-batches-py", b"labels", "batches.meta", b"label_names"
        files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    else:
        place, labels, meta, key = "cifar-100-python", b"fine_labels", "meta", b"fine_label_names"
        files = ["train", "test"]
    folder = root / place
    folder.mkdir(parents=True)
    for name in files:
        batch = {
            b"data": rng.integers(0, 256, (2 * num_classes, 3072), np.uint8),
            labels: [label % num_classes for label in range(2 * num_classes)],
        }
        (folder / name).write_bytes(python2_pickle(batch))
    (folder / meta).write_bytes(python2_pickle({key: [name.encode() for name in names]}))


def idx_bytes(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">i4").tobytes() + values.astype(np.uint8).tobytes()


def write_mnist(place: Path, *, packed: bool) -> None:
    place.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for prefix, num in (("train", 40), ("t10k", 20)):
        images = idx_bytes(rng.integers(0, 256, (num, 28, 28)))
        labels = idx_bytes(np.arange(num) % 10)
        for name, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            if packed:
                (place / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (place / name).write_bytes(content)
