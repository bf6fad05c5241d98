"""What two processes that train together cost, against one with the same batch.

ResNet-20 under a cached ResNet-56, 32x32, batch 128 altogether, through the command line under torchrun. Figures are
CPU seconds of all processes for the same steps: 1.0 would be no cost of working together.

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


def work(options: argparse.Namespace, steps: int, folder: Path) -> None:
    """One process of a run of so many steps."""
    torch.set_num_threads(1)
    world = join("cpu")
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
        "out": str(
            folder / f"{world.size}-{steps}-{time.time_ns() if world.size == 1 else os.environ['TORCHELASTIC_RUN_ID']}"
        ),
    }
    run(resolve("distill", [], list(chosen.items())), world=world, given=Given(data, teacher, student), say=_quiet)
    leave()


def _quiet(line: str) -> None:
    pass


def cpu_of(command: list[str]) -> tuple[float, float]:
    """CPU seconds of a command and all its children, and wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - start


def measure(options: argparse.Namespace, arguments: Sequence[str], folder: Path) -> dict[str, list[dict[str, float]]]:
    """What `many - few` steps cost on one process and on two, in turn."""
    found: dict[str, list[dict[str, float]]] = {"1": [], "2": []}
    # The first round fills the cache and does not count.
    for number in range(options.rounds + 1):
        for processes, rows in found.items():
            spent = []
            for steps in (options.few, options.many):
                launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
                launch = [] if processes == "1" else [*launch, "--rdzv-id", f"{number}-{steps}"]
                inner = ["-m", "benchmarks.processes", *arguments, "--steps", str(steps), "--folder", str(folder)]
                spent.append(cpu_of([sys.executable, *launch, *inner]))
            (few_cpu, few_wall), (many_cpu, many_wall) = spent
            if number:
                rows.append({"cpu": many_cpu - few_cpu, "wall": many_wall - few_wall})
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--few", type=int, default=10, help="steps of the shorter run")
    parser.add_argument("--many", type=int, default=50, help="steps of the longer run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--sync-batchnorm", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.steps:
        return work(options, options.steps, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        given = list(sys.argv[1:] if arguments is None else arguments)
        found = measure(options, given, Path(folder))
    pairs = list(zip(found["1"], found["2"], strict=True))
    efficiency = summary([one["cpu"] / two["cpu"] for one, two in pairs])
    faster = summary([one["wall"] / two["wall"] for one, two in pairs])
    for name, figures in (("CPU efficiency of two processes", efficiency), ("faster by the clock", faster)):
        print(f"{name}: {shown(figures, 2)}")
    if options.out:
        options.out.write_text(json.dumps({"runs": found, "cpu_efficiency": efficiency, "faster": faster}, indent=2))
    return None


if __name__ == "__main__":
    main()
