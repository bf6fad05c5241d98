"""Speed and memory of a distillation run against a bare PyTorch loop that does the same work.

Teacher ResNet-56, student ResNet-20, 32x32, batch 128, KD with T = 4, SGD, float32, random crops and flips. Each side
runs in processes of its own, in turn; figures are images per second of process CPU time and of
wall time, and peak memory.

    python -m benchmarks.trainer --steps 40 --rounds 3
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data import ROOT, add_options, load, networks
from benchmarks.timing import WARM_STEPS


def understudy_side(data: Any, teacher: Any, student: Any, batch: int) -> float:
    """One epoch through the whole trainer: seconds of the training loop, by its own log."""
    from understudy.experiments.assemble import Given
    from understudy.experiments.run import run
    from understudy.experiments.settings import resolve

    with tempfile.TemporaryDirectory() as folder:
        chosen = {
            "data": "object:benchmark",
            "data.augment": "crop-flip",
            "teacher": "object:teacher",
            "teacher.allow_untrained": True,
            "student": "object:student",
            "train.epochs": 1,
            "train.batch_size": batch,
            "train.optimizer": "sgd",
            "train.precision": "fp32",
            "train.schedule": "constant",
            "out": str(Path(folder) / "run"),
        }
        start = time.process_time()
        run(resolve("distill", [], list(chosen.items())), given=Given(data, teacher, student), say=lambda line: None)
        return time.process_time() - start


def bare_side(data: Any, teacher: Any, student: Any, batch: int) -> float:
    """One epoch of the plainest loop: images in memory, torchvision's transforms, no logging, no evaluation."""
    import torch
    from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    crop = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])

    class Images(Dataset[Any]):
        def __len__(self) -> int:
            return len(data.train)

        def __getitem__(self, index: int) -> Any:
            return crop(data.train.pixels[index]), data.train.labels[index]

    start = time.process_time()
    teacher.eval()
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for image, label in DataLoader(Images(), batch, shuffle=True, drop_last=True):
        with torch.no_grad():
            targets = teacher(image)
        logits = student(image)
        soft = kl_div(log_softmax(logits / 4, 1), softmax(targets / 4, 1), reduction="batchmean") * 16
        loss = 0.1 * cross_entropy(logits, label) + 0.9 * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - start


def measure(side: str, options: argparse.Namespace) -> dict[str, float]:
    """One process, one side: what `steps` more steps cost, so that preparing and evaluating do not count."""
    seconds = {}
    for steps in (WARM_STEPS, options.steps, 2 * options.steps):
        data = load(options.images, steps * options.batch, held_out=options.batch)
        teacher, student = networks(options.teacher, data.classes)
        start = time.perf_counter()
        cpu = (understudy_side if side == "understudy" else bare_side)(data, teacher, student, options.batch)
        seconds[steps] = (cpu, time.perf_counter() - start)
    (cpu, wall), (more_cpu, more_wall) = seconds[options.steps], seconds[2 * options.steps]
    count = options.steps * options.batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "images_per_cpu_s": count / (more_cpu - cpu),
        "images_per_s": count / (more_wall - wall),
        "peak_mb": peak / 1e3,
    }


def ask(arguments: list[str]) -> dict[str, float]:
    """What this script measures in another process."""
    command = [sys.executable, "-m", "benchmarks.trainer", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> None:
    """Run both sides in turn and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--steps", type=int, default=40, help="batches in each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--side", choices=["understudy", "bare"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return
    found: dict[str, list[dict[str, float]]] = {"understudy": [], "bare": []}
    for _ in range(options.rounds):
        for side, runs in found.items():
            runs.append(ask([*(arguments or sys.argv[1:]), "--side", side]))
    for side, runs in found.items():
        for name in runs[0]:
            values = [run[name] for run in runs]
            print(
                f"{side:12} {name:18} median {statistics.median(values):8.1f}  {min(values):8.1f} .. {max(values):8.1f}"
            )
    if options.out:
        options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
