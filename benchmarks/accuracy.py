"""Does what makes distillation fast cost accuracy? Paired seeds, on the digits or on a part of CIFAR-10.

Every arm is a whole run: same seeds, same first weights, same order of images; the epoch is chosen on the validation
split. Differences are to the slow arm: float32, a new augmentation in every epoch, the teacher asked in every step.

    OMP_NUM_THREADS=1 python -m benchmarks.accuracy digits --seeds 20 --out digits.json
    OMP_NUM_THREADS=1 python -m benchmarks.accuracy cifar --seeds 5 --out cifar.json

The file is written after every seed, and seeds that are in it are not run again.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import add_options, networks
from understudy.data import ImageData, PixelSplit, load_data
from understudy.data.resident import make_resident
from understudy.evaluation.statistics import paired_difference
from understudy.experiments.assemble import Given
from understudy.experiments.run import run
from understudy.experiments.settings import Command, resolve

SLOW = "fp32, fresh views"
ARMS: dict[str, dict[str, Any]] = {
    SLOW: {"cache": "off", "train.precision": "fp32"},
    "bf16, fresh views": {"cache": "off", "train.precision": "bf16"},
    "fp32, 4 views, fp16 cache": {"train.precision": "fp32", "data.views": 4},
    "bf16, 4 views, fp16 cache": {"train.precision": "bf16", "data.views": 4},
}
# The project's bound on the difference, in points.
BOUND = 0.5
Arm = Callable[[dict[str, Any], Path, int], float]


def digits(options: argparse.Namespace, folder: Path) -> Arm:
    """cnn-m teaches cnn-xs on the digits, shifted by up to a pixel."""
    teacher = folder / "teacher"
    _run("train", {"data": "digits", "student": "cnn-m", "out": str(teacher)}, Given())
    common = {"data": "digits", "data.augment": "shift", "teacher": str(teacher), "student": "cnn-xs"}
    chosen = {**common, "student.width": 48, "train.epochs": options.epochs or 30}
    return lambda arm, out, seed: _run("distill", {**chosen, **arm, "seed": seed, "out": str(out)}, Given())


def cifar(options: argparse.Namespace, folder: Path) -> Arm:
    """ResNet-56 teaches ResNet-20 on a part of CIFAR-10; the test split is whole."""
    data = part_of_cifar(options.images, options.count)
    chosen = {
        "data": "object:cifar",
        "teacher": "object:teacher",
        "student": "resnet20",
        "method.temperature": 4,
        "method.weight": 0.9,
        "label.weight": 0.1,
        "train.epochs": options.epochs or 8,
        "train.batch_size": options.batch,
        "train.optimizer": "sgd",
        "train.optimizer.lr": 0.1,
        "train.schedule": "onecycle",
    }

    def arm(changes: dict[str, Any], out: Path, seed: int) -> float:
        teacher, _ = networks(options.teacher, data.classes)
        return _run("distill", {**chosen, **changes, "seed": seed, "out": str(out)}, Given(data, teacher))

    return arm


def part_of_cifar(images: str, count: int) -> ImageData:
    """So many training images and a tenth as many for validation, in memory; all test images."""
    data = load_data(images)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    parts = {
        "train": data.train.subset(order[:count]),
        "val": data.train.subset(order[count : count + count // 10]),
        "test": data.test,
    }
    splits = {
        name: PixelSplit(make_resident(split, size=32, channels=3), split.labels) for name, split in parts.items()
    }
    return replace(data, name="cifar10-part", train=splits["train"], val=splits["val"], test=splits["test"])


def measure(options: argparse.Namespace, say: Callable[[str], None] = print) -> dict[str, list[float]]:
    """Test accuracy by arm and seed."""
    arms = {name: changes for name, changes in ARMS.items() if name == SLOW or name in (options.arms or ARMS)}
    found: dict[str, list[float]] = {name: [] for name in arms}
    same = {"data": options.data, "epochs": options.epochs, "count": options.count, "arms": list(arms)}
    if options.out and options.out.exists():
        before = json.loads(options.out.read_text())
        found = before.pop("accuracy")
        if before != same:
            raise SystemExit(f"'{options.out}' holds other runs, {before}: choose another --out")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arm = {"digits": digits, "cifar": cifar}[options.data](options, folder)
        for seed in range(len(found[SLOW]), options.seeds):
            scores = {}
            for number, (title, changes) in enumerate(arms.items()):
                place = {} if "cache" in changes else {"cache.path": str(folder / "cache")}
                scores[title] = arm({**changes, **place}, folder / f"{number}-{seed}", seed)
            for title, score in scores.items():
                found[title].append(score)
            say(f"seed {seed}: " + ", ".join(f"{title} {score:.2%}" for title, score in scores.items()))
            if options.out:
                options.out.write_text(json.dumps({**same, "accuracy": found}, indent=2))
    return found


def table(found: dict[str, list[float]]) -> str:
    """Means, and differences to the slow arm with their intervals."""
    lines = ["| | accuracy | difference in points | within the bound |", "|---|---|---|---|"]
    for name, values in found.items():
        row = f"| {name} | {100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f} |"
        if name == SLOW:
            lines.append(f"{row} | |")
            continue
        gap = paired_difference(values, found[SLOW])
        mean = 100 * gap.mean
        if gap.low is None or gap.high is None:
            lines.append(f"{row} {mean:+.2f} | not shown |")
            continue
        low, high = 100 * gap.low, 100 * gap.high
        kept = "yes" if low >= -BOUND and high <= BOUND else "not shown"
        lines.append(f"{row} {mean:+.2f} [{low:+.2f}, {high:+.2f}] | {kept} |")
    return "\n".join(lines)


def _run(command: Command, chosen: dict[str, Any], given: Given) -> float:
    result = run(resolve(command, [], list(chosen.items())), given=given, say=lambda line: None)
    return result["test"]["accuracy"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["digits", "cifar"])
    add_options(parser)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, help="by default 30 on the digits, 8 on CIFAR-10")
    parser.add_argument("--count", type=int, default=10_000, help="training images of CIFAR-10")
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), help="besides the slow one; by default all")
    parser.add_argument("--out", type=Path, help="JSON file to write, and to go on from")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(table(measure(options)))


if __name__ == "__main__":
    main()
