"""Child processes that start in a moment, on the CPU, and know nothing of what other tests did."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from understudy.studies.executors.local import PRELOADED

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["understudy.experiments.evaluate", "understudy.experiments.tables", *PRELOADED])
TIMEOUT = 120


def start(function: Callable[..., object], *arguments: object, **environment: str) -> BaseProcess:
    """Run a module-level function in a child."""
    process = _CONTEXT.Process(target=_run, args=(environment, function, arguments))
    process.start()
    return process


def finish(*processes: BaseProcess, seconds: float = TIMEOUT) -> list[int | None]:
    """Wait for children and return their exit codes; what is not done by then is killed."""
    for process in processes:
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def run_pair(function: Callable[..., object], *arguments: object, **environment: str) -> None:
    """Run a function in two processes that find each other as under torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", **environment}
    ranks = [start(function, *arguments, **common, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    assert finish(*ranks) == [0, 0]


def _run(environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update({**environment, "CUDA_VISIBLE_DEVICES": ""})
    import torch

    torch.set_num_threads(1)
    function(*arguments)


def command_in(folder: Path, said: Path, *arguments: str) -> None:
    """The command line in a folder; what it says goes to a file."""
    os.chdir(folder)
    with said.open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        command_line(*arguments)


def command_line(*arguments: str) -> None:
    """The command line, as `understudy ARGUMENTS`."""
    from understudy.cli import app

    app(list(arguments))
