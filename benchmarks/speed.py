"""What distillation costs here: first run, cached run and plain training against the textbook loop.

Teacher ResNet-56, student ResNet-20, 32x32, batch 128, KD with T = 4. Every row but the yardsticks is the whole
trainer, fed by its own loader and writing its own log; all take turns step by step in one process on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.speed --rounds 30 --out speed.json

`--compile` adds the compiled rows; what compiling costs is measured and printed beside them, not hidden. On a GPU
(`--device cuda --steps 50 --workers 8`) ratios are of wall time, and compiled rows are CUDA graphs.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import add_options, load, networks
from benchmarks.textbook import Textbook
from benchmarks.timing import peak_mb, summary
from benchmarks.turns import Step, Turns
from understudy.data import ImageData
from understudy.engine.loggers import JsonLines
from understudy.engine.trainer import Trainer
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.caching import make_source
from understudy.experiments.settings import resolve

BASELINE = "textbook KD"
# Name: what it sets.
ROWS: dict[str, dict[str, Any]] = {
    "live, fp32": {"cache": "off", "train.precision": "fp32"},
    "live, bf16": {"cache": "off", "train.precision": "bf16"},
    "cached, fp32": {"train.precision": "fp32"},
    "cached, bf16": {"train.precision": "bf16"},
    "plain, fp32": {"train.precision": "fp32"},
    "plain, bf16": {"train.precision": "bf16"},
}
COMPILED: dict[str, dict[str, Any]] = {
    "live, bf16, compiled": {**ROWS["live, bf16"], "train.compile": True},
    "cached, bf16, compiled": {**ROWS["cached, bf16"], "train.compile": True},
}
# (what, than what): the shares that the project promises something about.
SHARES = {
    "cached KD over plain training, bf16": ("cached, bf16", "plain, bf16"),
    "cached KD over plain training, fp32": ("cached, fp32", "plain, fp32"),
    "whole trainer over its bare step, bf16": ("cached, bf16", "bare step, bf16"),
}


class NoKeeper:
    """Keeps nothing: checkpoints are no part of a step."""

    def save(self, state: Any) -> None:
        """Do nothing."""

    def save_best(self, student: Any) -> None:
        """Do nothing."""


def prepare(options: argparse.Namespace, data: ImageData, chosen: dict[str, Any], folder: Path) -> Assembly:
    """Models and data of one row."""
    plain = "cache" not in chosen
    teacher, student = networks(options.teacher, data.classes)
    settings = {
        "data": "object:benchmark",
        "data.augment": "crop-flip",
        "data.views": 1,
        "student": "object:student",
        "train.epochs": 2,
        "train.batch_size": options.batch,
        "train.optimizer": "sgd",
        "train.schedule": "constant",
        "train.log_steps": 10,
        # As a good engineer would have it, for all rows: the fastest algorithms, not repeatable ones.
        "train.deterministic": False,
        "device": options.device,
        **chosen,
    }
    if not plain:
        settings |= {"teacher": "object:teacher", "cache.path": str(folder / "cache")}
    given = Given(data, None if plain else teacher, student)
    return assemble(resolve("train" if plain else "distill", [], list(settings.items())), given=given)


def trainer_of(made: Assembly, loader: Any, source: Any, log: Path) -> Trainer:
    """The trainer as a run makes it, but for validation and checkpoints."""
    optimizer = made.optimizer()
    made.distiller.begin(made.distiller.stages()[-1])
    return Trainer(
        made.distiller,
        source,
        loader=loader,
        optimizer=optimizer,
        schedule=made.schedule(optimizer, len(loader)),
        settings=made.settings.train,
        validate=None,
        keeper=NoKeeper(),
        loggers=lambda step: [JsonLines(log, step=step)],
        device=made.device,
        world=made.world,
        title="benchmark",
    )


def add_row(turns: Turns, name: str, made: Assembly, folder: Path) -> None:
    """A whole trainer; a cached one finds its cache full."""
    loader = made.train_loader()
    targets = made.teacher(made.sample()) if made.teacher else None
    source = make_source(made, loader, targets, lambda line: None)
    log = folder / f"{name}.jsonl"
    turns.add_whole(name, loader, lambda held: trainer_of(made, held, source, log).fit())


def add_bare(turns: Turns, made: Assembly) -> None:
    """One step and nothing else: the batch is there, nothing is counted or logged."""
    loader = made.train_loader()
    assert made.teacher is not None
    source = make_source(made, loader, made.teacher(made.sample()), lambda line: None)
    batch = next(iter(loader.batches(0)))
    assert source is not None
    targets, optimizer = source(batch), made.optimizer()
    distiller = made.distiller.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step() -> None:
        with torch.autocast(made.device.type, torch.bfloat16):
            loss = distiller(batch, targets).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    turns.add("bare step, bf16", step)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All rows in turn."""
    rows = {**ROWS, **(COMPILED if options.compile else {})}
    data = load(options.images, (options.rounds + options.warm + 1) * options.steps * options.batch)
    torch.backends.cudnn.benchmark = True
    turns = Turns(options.warm, steps=options.steps, wait=waiter(options.device))
    for name, taught in ((BASELINE, True), ("textbook plain", False)):
        teacher, student = networks(options.teacher, data.classes)
        common = {"batch": options.batch, "workers": options.workers, "device": options.device}
        turns.add(name, Textbook(data, student, teacher if taught else None, **common).step)
    compiling: dict[str, float] = {}
    for name, chosen in rows.items():
        named = {"cache": "on", "cache.fill": "ahead", **chosen} if name.startswith("cached") else chosen
        add_row(turns, name, prepare(options, data, named, folder), folder)
        if "compiled" in name:
            # The first turn compiles, and does not count as one.
            compiling[name] = turns.turn(name)[0]
    add_bare(turns, prepare(options, data, {**ROWS["cached, bf16"], "cache": "on"}, folder))
    turns.run(options.rounds)
    return report(options, turns, compiling)


def waiter(device: str) -> Step:
    """What waits for the device."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def report(options: argparse.Namespace, turns: Turns, compiling: dict[str, float]) -> dict[str, Any]:
    """Medians, and ratios of steps that were made in the same turn."""
    rows = {
        name: {
            "cpu_ms_per_step": summary([1e3 * value for value in turns.cpu[name]]),
            "wall_ms_per_step": summary([1e3 * value for value in turns.wall[name]]),
            "images_per_cpu_s": options.batch / summary(turns.cpu[name])["median"],
            "images_per_s": options.batch / summary(turns.wall[name])["median"],
            "times_textbook": ratio(options, turns, BASELINE, name),
            **({"compile_cpu_s": compiling[name]} if name in compiling else {}),
        }
        for name in turns.cpu
    }
    return {
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if options.device == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "batch": options.batch,
        "rounds": options.rounds,
        "peak_mb": peak_mb(),
        "rows": rows,
        "peak_gpu_mb": torch.cuda.max_memory_allocated() / 1e6 if options.device == "cuda" else None,
        "shares": {name: ratio(options, turns, *pair) for name, pair in SHARES.items()},
    }


def ratio(options: argparse.Namespace, turns: Turns, one: str, other: str) -> dict[str, float]:
    """One row's time over another's: the ratio of medians, and the middle half of the ratios of each turn.

    CPU time, since other work on the machine stretches the clock; on a GPU the clock.
    """
    spent = turns.wall if options.device == "cuda" else turns.cpu
    ratios = torch.tensor([a / b for a, b in zip(spent[one], spent[other], strict=True)], dtype=torch.float64)
    low, high = ratios.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    middle = summary(spent[one])["median"] / summary(spent[other])["median"]
    return {"median": middle, "low": low, "high": high}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=30, help="turns of each row")
    parser.add_argument("--warm", type=int, default=3, help="turns of each row that do not count")
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn; 50 on a GPU, which works ahead")
    parser.add_argument("--workers", type=int, default=0, help="processes that load for the textbook loop")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", action="store_true", help="also the compiled rows; minutes")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    print("| | CPU ms a step | images per CPU second | images per second | times textbook (middle half) |")
    print("|---|---|---|---|---|")
    for name, row in found["rows"].items():
        times = row["times_textbook"]
        cost = f", compiling {row['compile_cpu_s']:.0f} CPU s" if "compile_cpu_s" in row else ""
        print(
            f"| {name}{cost} | {row['cpu_ms_per_step']['median']:.1f} | {row['images_per_cpu_s']:.0f} "
            f"| {row['images_per_s']:.0f} | {times['median']:.2f} ({times['low']:.2f} .. {times['high']:.2f}) |"
        )
    for name, share in found["shares"].items():
        print(f"{name}: {share['median']:.3f} ({share['low']:.3f} .. {share['high']:.3f})")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
