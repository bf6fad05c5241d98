"""Two machines, played by two torchrun agents on this one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def distill(folder: Path, teacher: Path, out: str, launcher: list[str]) -> subprocess.Popen[str]:
    settings = [
        "data=digits", f"teacher={teacher}", "student=cnn-xs", "device=cpu", "train.epochs=2", "train.precision=fp32",
        "data.augment=shift", "data.views=1", "cache.path=cache", f"out={out}",
    ]  # fmt: skip
    command = [sys.executable, *launcher, "-m", "understudy", "distill", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.slow
def test_two_agents_train_as_one_process(teacher_run: Path, tmp_path: Path) -> None:
    meeting = ["--rdzv-backend", "c10d", "--rdzv-id", "understudy", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    agent = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meeting]
    nodes = [distill(tmp_path, teacher_run, "two", agent) for _ in range(2)]
    said = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    alone = distill(tmp_path, teacher_run, "one", [])
    output, _ = alone.communicate(timeout=300)
    assert alone.returncode == 0, output
    one, two = (json.loads((tmp_path / out / "result.json").read_text())["test"] for out in ("one", "two"))
    assert two["nll"] == pytest.approx(one["nll"], rel=1e-3)
    assert json.loads((tmp_path / "two" / "provenance.json").read_text())["machine"]["processes"] == 2
