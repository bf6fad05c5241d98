"""What distillation costs here: first run, cached run and plain training against the textbook loop.

Teacher ResNet-56, student ResNet-20, 32x32, batch 128, KD with T = 4. Every row but the yardsticks is the whole
trainer, fed by its own loader and writing its own log. Each row is a process of one thread; they take turns.

    OMP_NUM_THREADS=1 python -m benchmarks.speed --out speed.json

`--compile` adds the compiled rows; what compiling costs is measured and printed beside them, not hidden. On a GPU
(`--device cuda --steps 50 --workers 8`) ratios are of wall time, and compiled rows are CUDA graphs.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import add_options, load, networks
from benchmarks.textbook import Textbook
from benchmarks.timing import shown, summary
from benchmarks.turns import Floor, Held, Loop, Turns
from understudy.data import ImageData
from understudy.engine.loggers import JsonLines
from understudy.engine.trainer import Trainer
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.caching import make_source
from understudy.experiments.optimization import make_optimization
from understudy.experiments.settings import resolve

BASELINE = "textbook KD"
# Name: what it sets.
ROWS: dict[str, dict[str, Any]] = {
    "live, fp32": {"cache": "off", "train.precision": "fp32"},
    "live, bf16": {"cache": "off", "train.precision": "bf16"},
    "cached, fp32": {"cache": "on", "cache.fill": "ahead", "train.precision": "fp32"},
    "cached, bf16": {"cache": "on", "cache.fill": "ahead", "train.precision": "bf16"},
    "plain, fp32": {"train.precision": "fp32"},
    "plain, bf16": {"train.precision": "bf16"},
}
COMPILED: dict[str, dict[str, Any]] = {
    "live, bf16, compiled": {**ROWS["live, bf16"], "train.compile": True},
    "cached, bf16, compiled": {**ROWS["cached, bf16"], "train.compile": True},
}
BARE = "bare step, bf16"
ALL = {**ROWS, **COMPILED, BARE: ROWS["cached, bf16"]}
# Whether there is a teacher.
TEXTBOOK = {BASELINE: True, "textbook plain": False}
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
    moved = make_optimization(made, len(loader))
    made.distiller.begin(made.distiller.stages()[-1])
    return Trainer(
        made.distiller,
        source,
        loader=loader,
        optimizer=moved.optimizer,
        schedule=moved.schedule,
        settings=made.settings.train,
        validate=None,
        keeper=NoKeeper(),
        loggers=lambda step: [JsonLines(log, step=step)],
        device=made.device,
        world=made.world,
        title="benchmark",
    )


def row(options: argparse.Namespace, name: str, folder: Path) -> Loop:
    """One row of the table, ready to make its steps; it runs in a process of its own."""
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    data = load(options.images, (options.rounds + 2) * options.steps * options.batch)
    loop = textbook_loop(options, data, name) if name in TEXTBOOK else trainer_loop(options, data, name, folder)

    def with_device(floor: Floor) -> None:
        if options.device == "cuda":
            floor.finish = torch.cuda.synchronize
        loop(floor)

    return with_device


def repeated(step: Callable[[], object]) -> Loop:
    """A loop of nothing but steps."""

    def loop(floor: Floor) -> None:
        while True:
            floor.ask()
            step()

    return loop


def textbook_loop(options: argparse.Namespace, data: ImageData, name: str) -> Loop:
    """The yardstick."""
    teacher, student = networks(options.teacher, data.classes)
    common = {"batch": options.batch, "workers": options.workers, "device": options.device}
    return repeated(Textbook(data, student, teacher if TEXTBOOK[name] else None, **common).step)


def trainer_loop(options: argparse.Namespace, data: ImageData, name: str, folder: Path) -> Loop:
    """The whole trainer, whose cache is full if it has one; or the bare step that it makes."""
    made = prepare(options, data, ALL[name], folder)
    loader = made.train_loader()
    targets = made.teacher(made.sample()) if made.teacher else None
    source = make_source(made, loader, targets, lambda line: None)
    if name == BARE:
        return repeated(bare_step(made, loader, source))
    log = folder / f"{name}.jsonl"
    return lambda floor: trainer_of(made, Held(loader, floor), source, log).fit()


def bare_step(made: Assembly, loader: Any, source: Any) -> Callable[[], object]:
    """One step and nothing else: batch and targets are there, nothing is counted or logged."""
    batch = next(iter(loader.batches(0)))
    targets, optimizer = source(batch), make_optimization(made, 1).optimizer
    distiller = made.distiller.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step() -> None:
        with torch.autocast(made.device.type, torch.bfloat16):
            loss = distiller(batch, targets).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All rows in turn."""
    chosen = options.rows or [*TEXTBOOK, *ROWS, *(COMPILED if options.compile else ()), BARE]
    turns = Turns(options.steps)
    first = {name: turns.add(name, row, options, name, folder).cpu for name in chosen}
    turns.run(options.rounds)
    rows = {}
    for name, spent in turns.spent.items():
        cpu = summary([1e3 * turn.cpu for turn in spent])
        rows[name] = {
            "cpu_ms_per_step": cpu,
            "wall_ms_per_step": summary([1e3 * turn.wall for turn in spent]),
            "images_per_cpu_s": 1e3 * options.batch / cpu["median"],
            "images_per_s": options.batch / summary([turn.wall for turn in spent])["median"],
            "peak_mb": spent[-1].peak_mb,
            # What the first turn took more than another one.
            "first_cpu_s": first[name] - options.steps * cpu["median"] / 1e3,
        }
        if BASELINE in turns.spent:
            rows[name]["times_textbook"] = ratio(options, turns, BASELINE, name)
    return {
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if options.device == "cuda" else platform.machine(),
        "batch": options.batch,
        "rounds": options.rounds,
        "steps": options.steps,
        "rows": rows,
        "shares": {name: ratio(options, turns, *pair) for name, pair in SHARES.items() if {*pair} <= {*chosen}},
    }


def ratio(options: argparse.Namespace, turns: Turns, one: str, other: str) -> dict[str, float]:
    """One row's time over another's: the ratio of medians, and the middle half of the ratios of each turn.

    CPU time, since other work on the machine stretches the clock; on a GPU the clock.
    """
    field = "wall" if options.device == "cuda" else "cpu"
    ours, theirs = ([getattr(turn, field) for turn in turns.spent[name]] for name in (one, other))
    ratios = torch.tensor([a / b for a, b in zip(ours, theirs, strict=True)], dtype=torch.float64)
    low, high = ratios.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    return {"median": summary(ours)["median"] / summary(theirs)["median"], "low": low, "high": high}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each row")
    parser.add_argument("--rows", nargs="*", choices=[*TEXTBOOK, *ALL], help="some only; by default all")
    parser.add_argument("--steps", type=int, default=4, help="of a turn; 50 on a GPU, which works ahead")
    parser.add_argument("--workers", type=int, default=0, help="processes that load for the textbook loop")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", action="store_true", help="also the compiled rows; minutes")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    print("| | CPU ms a step | images per CPU second | images per second | peak MB | times textbook (middle half) |")
    print("|---|---|---|---|---|---|")
    for name, figures in found["rows"].items():
        times = figures.get("times_textbook")
        compiling = f", compiling {figures['first_cpu_s']:.0f} CPU s" if name in COMPILED else ""
        cells = [
            f"{name}{compiling}",
            shown(figures["cpu_ms_per_step"]),
            f"{figures['images_per_cpu_s']:.0f}",
            f"{figures['images_per_s']:.0f}",
            f"{figures['peak_mb']:.0f}",
            f"{times['median']:.2f} ({times['low']:.2f} .. {times['high']:.2f})" if times else "",
        ]
        print(f"| {' | '.join(cells)} |")
    for name, share in found["shares"].items():
        print(f"{name}: {share['median']:.3f} ({share['low']:.3f} .. {share['high']:.3f})")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
