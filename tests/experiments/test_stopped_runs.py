"""Whole runs that are stopped from outside and started again."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from child_processes import command_line, finish, start

from understudy.experiments.run import Result

CHOSEN = {"train__epochs": 20, "train__log_steps": 1, "train__ema": 0.9, "train__optimizer__lr": 0.01}
SETTINGS = [f"{key.replace('__', '.')}={value}" for key, value in CHOSEN.items()]
COMMAND = ["train", "data=digits", "student=cnn-xs", "device=cpu", *SETTINGS]


@pytest.fixture(scope="module")
def straight(digits: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("straight") / "run"
    digits("train", out, **CHOSEN)
    return (out / "student.safetensors").read_bytes()


def num_lines(out: Path) -> int:
    metrics = out / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_goes_on_to_the_same_student(
    number: signal.Signals, code: int, straight: bytes, digits: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(command_line, *COMMAND, f"out={out}")
    # Past the first checkpoint and in the middle of an epoch.
    while num_lines(out) < 43 or not (out / "last.pt").exists():
        assert process.is_alive()
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert finish(process) == [code]
    assert not (out / "result.json").exists()
    digits("train", out, **CHOSEN)
    assert (out / "student.safetensors").read_bytes() == straight
