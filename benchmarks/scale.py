"""What distillation at scale takes, computed from what one core of this machine does.

Measured: images a second through teacher (ResNet-50) and student (ResNet-18, one training step) at 224x224, decoding
and cropping of a photograph, writing and reading of cached targets for 1,000 classes, their size. Computed from that:
core hours and disk for ImageNet-1k and for a billion unlabelled images.

    OMP_NUM_THREADS=1 python -m benchmarks.scale --out scale.json
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from understudy.data.augment import make_augmentation
from understudy.data.decode import read_image
from understudy.distiller import Distiller
from understudy.methods.kd import KD
from understudy.models import create_model
from understudy.teachers import Teacher
from understudy.teachers.fast import quicken
from understudy.teachers.store import Layout, TargetStore
from understudy.types import Batch, Outputs

CLASSES = 1000
TOPK = 16
SIZE = 224
# Height and width of a typical photograph of ImageNet.
PHOTO = (375, 500)
HOUR = 3600


class Case(NamedTuple):
    """A data set and how often it is shown."""

    name: str
    images: int
    epochs: int
    views: int
    topk: int | None


CASES = (
    Case("ImageNet-1k, 100 epochs, a new view each time", 1_281_167, 100, 100, None),
    Case("ImageNet-1k, 100 epochs, 4 views", 1_281_167, 100, 4, None),
    Case(f"ImageNet-1k, 100 epochs, 4 views, {TOPK} logits", 1_281_167, 100, 4, TOPK),
    Case(f"a billion images, 1 epoch, {TOPK} logits", 1_000_000_000, 1, 1, TOPK),
)


def per_second(work: Callable[[], object], count: int, rounds: int) -> float:
    """Items per second of process CPU time, the median of some rounds after one that does not count."""
    work()
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return count / statistics.median(spent)


def measure(batch: int, rounds: int, folder: Path) -> dict[str, float]:
    """Everything that is measured, per CPU second of one core; sizes in bytes."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8)
    index = torch.arange(batch)
    data = Batch(pixels, index % CLASSES, index, torch.zeros_like(index))
    half = torch.bfloat16
    model = create_model("torchvision:resnet50", classes=CLASSES)
    teacher = Teacher(quicken(model, pixels[:2], precision=half), precision=half)
    photo = _photo(folder / "photo.jpg")
    crop = make_augmentation("resized-crop")
    found = {
        "teacher": per_second(lambda: teacher(data), batch, rounds),
        "student_step": per_second(_student_step(data), batch, rounds),
        "decode_and_crop": per_second(lambda: [_crop(photo, crop, number) for number in range(8)], 8, rounds),
    }
    for topk in (None, TOPK):
        layout = Layout(4096, {"logits": CLASSES}, "fp16", topk)
        store = TargetStore.create(folder / str(topk), {}, layout)
        store.reserve(1)
        found |= _stored(store, f"top{topk}" if topk else "all", rounds)
    return found


def _student_step(data: Batch) -> Callable[[], object]:
    student = create_model("torchvision:resnet18", classes=CLASSES)
    distiller = Distiller(student, [KD()]).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.01, momentum=0.9, fused=True)
    targets = Outputs(torch.randn(len(data.image), CLASSES), {})

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = distiller(data, targets).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _photo(path: Path) -> Path:
    """A JPEG of smooth noise, about as large as a photograph."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (PHOTO[0] // 8, PHOTO[1] // 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((PHOTO[1], PHOTO[0]), Image.Resampling.BICUBIC).save(path, quality=90)
    return path


def _crop(photo: Path, crop: Callable[..., torch.Tensor], number: int) -> torch.Tensor:
    place = torch.tensor([number])
    return crop(read_image(photo).unsqueeze(0), place, view=place, seed=0, size=SIZE)


def _stored(store: TargetStore, name: str, rounds: int) -> dict[str, float]:
    index = torch.arange(store.layout.num_images)
    view, logits = torch.zeros_like(index), {"logits": torch.randn(len(index), CLASSES)}
    return {
        f"write_{name}": per_second(lambda: store.write(view, index, logits), len(index), rounds),
        f"read_{name}": per_second(lambda: store.read(view, index), len(index), rounds),
        f"bytes_{name}": store.layout.num_bytes(1) / len(index),
    }


def compute(found: dict[str, float], case: Case) -> dict[str, float]:
    """Core hours and gigabytes of one case."""
    name = f"top{case.topk}" if case.topk else "all"
    shown, asked = case.images * case.epochs, case.images * min(case.views, case.epochs)
    return {
        "student_core_hours": shown * (1 / found["student_step"] + 1 / found["decode_and_crop"]) / HOUR,
        "teacher_each_step_core_hours": shown / found["teacher"] / HOUR,
        "teacher_cached_core_hours": asked / found["teacher"] / HOUR,
        "cache_core_hours": (asked / found[f"write_{name}"] + shown / found[f"read_{name}"]) / HOUR,
        "cache_gb": asked * found[f"bytes_{name}"] / 1e9,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compute, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--price", type=float, default=0.04, help="dollars for a core hour, an assumption")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.batch, options.rounds, Path(folder))
    computed = {case.name: compute(found, case) for case in CASES}
    print("| measured, one core | |\n|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:,.1f} |")
    print(
        "\n| computed | student | teacher in each step | teacher, cached | cache on disk | cost, each step | cached |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, row in computed.items():
        student, live, cached, own, disk = row.values()
        price = [f"${options.price * hours:,.0f}" for hours in (student + live, student + cached + own)]
        hours = [f"{value:,.0f} core h" for value in (student, live, cached)]
        print(f"| {' | '.join([name, *hours, f'{disk:,.1f} GB', *price])} |")
    if options.out:
        options.out.write_text(json.dumps({"measured": found, "computed": computed}, indent=2))


if __name__ == "__main__":
    main()
