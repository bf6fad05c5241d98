"""The textbook loop of distillation, the yardstick of `docs/performance.md`, and the textbook loop of plain training.

Teacher ResNet-56 under `no_grad` in every step, student ResNet-20, KD with T = 4, SGD, batch 128, float32, NCHW;
torchvision's transforms on PIL images in a `DataLoader`. The two loops take turns, step by step, in one process.

    OMP_NUM_THREADS=1 python -m benchmarks.textbook --rounds 20 --out textbook.json
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToTensor

from benchmarks.data import BATCH, add_options, load, networks
from benchmarks.timing import cpu_seconds, shown, summary
from understudy.classifier import Classifier, InputSpec
from understudy.data import ImageData

TEMPERATURE = 4.0
LABEL_WEIGHT = 0.1
LR = 0.05
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images in memory that become PIL images when they are read, as torchvision's `CIFAR10` keeps them.

    Args:
        data: Where the training images come from.
        spec: How they are normalised.
        augment: Crop out of 4 pixels of padding, and mirror half of the images.
    """

    def __init__(self, data: ImageData, spec: InputSpec, *, augment: bool = True) -> None:
        pixels, self.labels = training_images(data)
        self.pixels = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.transform = Compose([*crop_and_flip(augment), ToTensor(), Normalize(spec.mean, spec.std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


class Textbook:
    """The loop, one step at a time, so that another one can take turns with it.

    Args:
        data: Where the training images come from.
        student: The network to train; its weights change.
        teacher: None trains on the labels alone.
        batch: Images in a batch.
        augment: As `PilImages` takes it.
        workers: Processes that load; 0 loads in this one.
        device: Where to compute.
    """

    def __init__(
        self,
        data: ImageData,
        student: Classifier,
        teacher: Classifier | None = None,
        *,
        batch: int = BATCH,
        augment: bool = True,
        workers: int = 0,
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.loader = DataLoader(
            PilImages(data, student.spec, augment=augment),
            batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
        )
        self.student = student.network.train().to(self.device)
        self.teacher = None if teacher is None else teacher.network.eval().requires_grad_(False).to(self.device)
        self.optimizer = make_sgd(self.student)
        self._batches = self._endless()

    def step(self) -> Tensor:
        """Load a batch, and train on it; the loss, detached."""
        image, label = (part.to(self.device, non_blocking=True) for part in next(self._batches))
        if self.teacher is None:
            loss = cross_entropy(self.student(image), label)
        else:
            with torch.no_grad():
                targets = self.teacher(image)
            loss = kd(self.student(image), targets, label)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader


def training_images(data: ImageData) -> tuple[Tensor, list[int]]:
    """Pixels, uint8 (n, 3, 32, 32), and labels of data that `benchmarks.data.load` has made."""
    pixels = getattr(data.train, "pixels", None)
    assert isinstance(pixels, Tensor)
    return pixels, data.train.labels.tolist()


def crop_and_flip(augment: bool) -> list[torch.nn.Module]:
    """The transforms of the CIFAR protocol, or none."""
    return [RandomCrop(32, padding=4), RandomHorizontalFlip()] if augment else []


def make_sgd(network: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD in the form that torch takes by default, not the fused one."""
    return torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def kd(logits: Tensor, targets: Tensor, label: Tensor) -> Tensor:
    """0.1 cross entropy + 0.9 T^2 KL."""
    soft = kl_div(log_softmax(logits / TEMPERATURE, 1), softmax(targets / TEMPERATURE, 1), reduction="batchmean")
    return LABEL_WEIGHT * cross_entropy(logits, label) + (1 - LABEL_WEIGHT) * TEMPERATURE**2 * soft


def measure(loops: dict[str, Textbook], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of CPU and of wall time of single steps, in turn, after one step each that does not count."""
    found: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in loops}
    for loop in loops.values():
        loop.step()
    for _ in range(rounds):
        for name, loop in loops.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            loop.step()
            found[name]["cpu"].append(cpu_seconds() - cpu)
            found[name]["wall"].append(time.perf_counter() - wall)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure distillation and plain training, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=20, help="steps of each loop")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = load(options.images, (options.rounds + 1) * options.batch)
    teacher, student = networks(options.teacher, data.classes)
    _, plain = networks(options.teacher, data.classes)
    loops = {
        "textbook KD": Textbook(data, student, teacher, batch=options.batch),
        "textbook plain": Textbook(data, plain, batch=options.batch),
    }
    found = measure(loops, options.rounds)
    rows = {
        name: {
            "cpu_ms_per_step": summary([1e3 * value for value in spent["cpu"]]),
            "images_per_cpu_s": summary([options.batch / value for value in spent["cpu"]]),
            "images_per_s": summary([options.batch / value for value in spent["wall"]]),
        }
        for name, spent in found.items()
    }
    print("| | CPU ms a step | images per CPU second | images per second |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(shown(figures) for figures in row.values())} |")
    if options.out:
        about = {"torch": torch.__version__, "rounds": options.rounds, "batch": options.batch}
        options.out.write_text(json.dumps({**about, "steps": rows}, indent=2))


if __name__ == "__main__":
    main()
