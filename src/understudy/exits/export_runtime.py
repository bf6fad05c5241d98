"""Early exits that leave later stages out, with NumPy and ONNX Runtime alone.

This file stands beside the models that `understudy exits export` wrote, and needs nothing else of understudy:

    python early_exits.py images.npy        # uint8, (images, channels, height, width)

    from early_exits import EarlyExits
    logits, exits, macs = EarlyExits("path/to/this/folder")(images)
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]


class Prediction(NamedTuple):
    """What was said about some images.

    Attributes:
        logits: Of the exit that each image took (images, classes), float32.
        exits: Number of that exit (images,), int64, from 0; the main exit is the last.
        macs: Multiply-adds that were spent on each image (images,), int64.
    """

    logits: Array
    exits: Array
    macs: Array


class EarlyExits:
    """Stages and heads of a network, one ONNX file each.

    Args:
        folder: Where they are; by default where this file is.
        num_threads: Of ONNX Runtime; 0 is one for each core.

    Attributes:
        classes: Class names in the order of the logits.
        shape: Channels, height and width of the images.
        thresholds: An image leaves at the first exit whose doubt is below its threshold.
    """

    def __init__(self, folder: str | Path | None = None, *, num_threads: int = 0) -> None:
        place = Path(__file__).parent if folder is None else Path(folder)
        record = json.loads((place / "exits.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        self._stages, self._heads = (
            [onnxruntime.InferenceSession(place / name, options, ["CPUExecutionProvider"]) for name in record[kind]]
            for kind in ("stages", "heads")
        )
        self._stage_macs: list[int] = record["stage_macs"]
        self._head_macs: list[int] = record["head_macs"]
        self._score: str = record["score"]
        self.classes = tuple(record["classes"])
        self.shape = tuple(record["shape"])
        words: dict[float | str, float] = {"always": math.inf, "never": -math.inf}
        thresholds: list[float | str] = record["thresholds"]
        self.thresholds = tuple(float(words.get(value, value)) for value in thresholds)

    def __call__(self, images: Array, *, dial: float = 1.0, thresholds: Sequence[float] | None = None) -> Prediction:
        """Each image goes through as many stages as it needs.

        Args:
            images: As in the files, uint8 in 0..255 (images, channels, height, width).
            dial: 1 takes the thresholds as they were found; more lets images leave later, less earlier: 0 sends all to
                the first exit, infinity all to the main exit.
            thresholds: One for each early exit instead of those that were found; -infinity closes an exit.

        Raises:
            ValueError: Images, dial or thresholds are not as described.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ValueError(f"expected uint8 images of shape (images, {', '.join(map(str, self.shape))})")
        if not dial >= 0:
            raise ValueError(f"dial must be 0 or more, got {dial}")
        limits = [self._turned(value, dial) for value in (self.thresholds if thresholds is None else thresholds)]
        if len(limits) != len(self._heads):
            raise ValueError(f"expected {len(self._heads)} thresholds, got {len(limits)}")
        return self._run(images, limits)

    def _run(self, images: Array, limits: Sequence[float]) -> Prediction:
        logits = np.zeros((len(images), len(self.classes)), np.float32)
        exits, macs = np.zeros((2, len(images)), np.int64)
        # Places of the images that are still on their way.
        rows, feature, spent = np.arange(len(images)), images, 0
        for number, stage in enumerate(self._stages):
            if not len(rows):
                break
            (feature,) = _outputs(stage, feature)
            spent += self._stage_macs[number]
            if number == len(limits):
                logits[rows], exits[rows], macs[rows] = feature, number, spent
            elif limits[number] > -math.inf:
                said, doubt = _outputs(self._heads[number], feature)
                spent += self._head_macs[number]
                # Of all that are here: those that stay are written over.
                logits[rows], exits[rows], macs[rows] = said, number, spent
                stays = ~(doubt < limits[number])
                rows, feature = rows[stays], feature[stays]
        return Prediction(logits, exits, macs)

    def _turned(self, threshold: float, dial: float) -> float:
        if dial in (0, math.inf):
            return -math.inf if dial else math.inf
        return threshold - math.log(dial) if self._score == "energy" else threshold / dial


def _outputs(session: onnxruntime.InferenceSession, value: Array) -> Any:
    return session.run(None, {session.get_inputs()[0].name: value})


def main(arguments: Sequence[str]) -> None:
    """Print class, exit and multiply-adds of each image in a .npy file."""
    if len(arguments) != 1:
        sys.exit("usage: python early_exits.py images.npy")
    network = EarlyExits()
    found = network(np.load(arguments[0]))
    for logits, taken, macs in zip(found.logits, found.exits, found.macs, strict=True):
        print(f"{network.classes[int(logits.argmax())]}\texit {taken + 1}\t{macs} multiply-adds")


if __name__ == "__main__":
    main(sys.argv[1:])
