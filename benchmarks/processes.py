"""What two processes that train together cost, against one with the same batch.

ResNet-20 under a cached ResNet-56, 32x32, batch 128 altogether, through the command line under torchrun. Figures are
CPU seconds of all processes for the same steps: 1.0 would be no cost of working together. Two processes apart, each on
half a batch, exchange nothing: what they lose to each other is the machine's share.

    OMP_NUM_THREADS=1 python -m benchmarks.processes --rounds 3 --out processes.json
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.data import add_options, load, networks
from benchmarks.timing import shown, summary
from understudy.engine.distributed import join, leave
from understudy.experiments.assemble import Given
from understudy.experiments.run import run
from understudy.experiments.settings import resolve

ONE, TOGETHER, APART = "one", "two together", "two apart"


def work(options: argparse.Namespace, steps: int, folder: Path) -> None:
    """One process of a run of so many steps."""
    torch.set_num_threads(1)
    world = join("cpu")
    name = f"alone-{options.label}-{time.time_ns()}" if world.size == 1 else os.environ["TORCHELASTIC_RUN_ID"]
    data = load(options.images, steps * options.batch)
    teacher, student = networks(options.teacher, data.classes)
    chosen = {
        "data": "object:benchmark",
        "data.views": 1,
        "data.augment": "crop-flip",
        "teacher": "object:teacher",
        "teacher.allow_untrained": True,
        "student": "object:student",
        "device": "cpu",
        "train.epochs": 1,
        "train.batch_size": options.batch,
        "train.optimizer": "sgd",
        "train.precision": options.precision,
        "train.sync_batchnorm": options.sync_batchnorm,
        "cache": "on",
        "cache.path": str(folder / "cache"),
        "out": str(folder / name),
    }
    run(resolve("distill", [], list(chosen.items())), world=world, given=Given(data, teacher, student), say=_quiet)
    leave()


def _quiet(line: str) -> None:
    pass


def cpu_of(commands: Sequence[Sequence[str]]) -> tuple[float, float]:
    """CPU seconds of commands at the same time and all their children, and wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for process in [subprocess.Popen(command, **quiet) for command in commands]:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - start


def measure(options: argparse.Namespace, arguments: Sequence[str], folder: Path) -> dict[str, list[dict[str, float]]]:
    """What `many - few` steps cost on one process, on two together and on two apart, in turn."""
    found: dict[str, list[dict[str, float]]] = {ONE: [], TOGETHER: [], APART: []}
    for number in range(-options.warm, options.rounds):
        for name, rows in found.items():
            spent = []
            for steps in (options.few, options.many):
                inner = ["-m", "benchmarks.processes", *arguments, "--steps", str(steps), "--folder", str(folder)]
                spent.append(cpu_of(commands(name, inner, f"turn{number}-{steps}", options.batch)))
            (few_cpu, few_wall), (many_cpu, many_wall) = spent
            if number >= 0:
                rows.append({"cpu": many_cpu - few_cpu, "wall": many_wall - few_wall})
    return found


def commands(name: str, inner: list[str], turn: str, batch: int) -> list[list[str]]:
    """What is started at the same time."""
    if name == ONE:
        return [[sys.executable, *inner]]
    if name == TOGETHER:
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--rdzv-id", turn]
        return [[sys.executable, *launch, *inner]]
    return [[sys.executable, *inner, "--batch", str(batch // 2), "--label", str(half)] for half in range(2)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--few", type=int, default=10, help="steps of the shorter run")
    parser.add_argument("--many", type=int, default=50, help="steps of the longer run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=1, help="rounds before, which fill the cache and do not count")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--sync-batchnorm", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--label", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.steps:
        return work(options, options.steps, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        given = list(sys.argv[1:] if arguments is None else arguments)
        found = measure(options, given, Path(folder))
    shares = {
        "CPU efficiency of two processes": (ONE, TOGETHER, "cpu"),
        "CPU efficiency of two that exchange nothing": (ONE, APART, "cpu"),
        "two together over two apart": (APART, TOGETHER, "cpu"),
        "faster by the clock": (ONE, TOGETHER, "wall"),
    }
    figures = {
        name: summary([a[field] / b[field] for a, b in zip(found[one], found[other], strict=True)])
        for name, (one, other, field) in shares.items()
    }
    for name, figure in figures.items():
        print(f"{name}: {shown(figure, 2)}")
    if options.out:
        options.out.write_text(json.dumps({"runs": found, "figures": figures}, indent=2))
    return None


if __name__ == "__main__":
    main()
