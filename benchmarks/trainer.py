"""Speed and memory of a distillation run against a bare PyTorch loop that does the same work.

Teacher ResNet-56, student ResNet-20, 32x32, batch 128, KD with T = 4, SGD, float32, random crops and flips. Each side
runs in processes of its own, in turn; figures are images per second of process CPU time and of
wall time, and peak memory.

    python benchmarks/trainer.py --images path/to/cifar10 --teacher resnet56.safetensors --steps 40 --rounds 3

Without files the images and the weights are random: the work is the same.
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

BATCH = 128


def load(images: str | None, count: int) -> Any:
    """`count` training images as a data set, from a folder or random."""
    import torch

    from understudy.data import ImageData, PixelSplit, load_data
    from understudy.data.resident import make_resident

    if images is None:
        classes = tuple(map(str, range(10)))
        pixels, labels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8), torch.arange(count) % 10
        mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    else:
        data = load_data(images)
        chosen = data.train.subset(torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:count])
        classes, mean, std = data.classes, data.mean, data.std
        pixels, labels = make_resident(chosen, size=32, channels=3), chosen.labels
    train, few = PixelSplit(pixels, labels), PixelSplit(pixels[:BATCH], labels[:BATCH])
    return ImageData("benchmark", classes, train, few, few, 32, 3, mean, std)


def networks(weights: str | None, classes: tuple[str, ...]) -> tuple[Any, Any]:
    """Teacher and student."""
    from understudy import create_model

    teacher = create_model("resnet56", classes=classes, weights=weights, settings={"shortcut": "padding"})
    return teacher, create_model("resnet20", classes=classes)


def understudy_side(data: Any, teacher: Any, student: Any) -> float:
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
            "train.batch_size": BATCH,
            "train.optimizer": "sgd",
            "train.precision": "fp32",
            "train.schedule": "constant",
            "out": str(Path(folder) / "run"),
        }
        start = time.process_time()
        run(resolve("distill", [], list(chosen.items())), given=Given(data, teacher, student), say=lambda line: None)
        return time.process_time() - start


def bare_side(data: Any, teacher: Any, student: Any) -> float:
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
    for image, label in DataLoader(Images(), BATCH, shuffle=True, drop_last=True):
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
    for steps in (options.steps, 2 * options.steps):
        data = load(options.images, steps * BATCH)
        teacher, student = networks(options.teacher, data.classes)
        start = time.perf_counter()
        cpu = (understudy_side if side == "understudy" else bare_side)(data, teacher, student)
        seconds[steps] = (cpu, time.perf_counter() - start)
    (cpu, wall), (more_cpu, more_wall) = seconds.values()
    count = options.steps * BATCH
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "images_per_cpu_s": count / (more_cpu - cpu),
        "images_per_s": count / (more_wall - wall),
        "peak_mb": peak / 1e3,
    }


def main() -> None:
    """Run both sides in turn and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="image folder with train/ and test/")
    parser.add_argument("--teacher", help="ResNet-56 weights, padding shortcuts")
    parser.add_argument("--steps", type=int, default=40, help="batches of 128 in each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--side", choices=["understudy", "bare"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return
    found: dict[str, list[dict[str, float]]] = {"understudy": [], "bare": []}
    for _ in range(options.rounds):
        for side, runs in found.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
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
