"""What the tests of whole runs share."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.experiments.run import Result, run
from understudy.experiments.settings import Command, resolve


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    # Under nohup or `&` in a script it is ignored, also by the processes that tests start and stop with it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_digits(command: Command, out: Path, **chosen: object) -> Result:
    """One epoch on the digits on the CPU, unless told otherwise; dots in keys are written as two underscores."""
    common = {"data": "digits", "student": "cnn-xs", "device": "cpu", "train__epochs": 1, "train__optimizer__lr": 0.01}
    if command == "distill":
        common["cache__path"] = str(out.parent / "cache")
    overrides = [(key.replace("__", "."), value) for key, value in {**common, "out": str(out), **chosen}.items()]
    return run(resolve(command, [], overrides), say=lambda line: None)


@pytest.fixture(scope="session")
def digits() -> Callable[..., Result]:
    return run_digits


@pytest.fixture(scope="session")
def teacher_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose student is far better than chance."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    run_digits("train", out, student="cnn-s", train__epochs=3)
    return out


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten colour photographs of different sizes, told apart by their hue."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for channel, name in enumerate(("ants", "bees", "wasps")):
        (root / name).mkdir()
        for number in range(10):
            pixels = generator.integers(0, 100, (12 + number, 20, 3))
            pixels[..., channel] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root
