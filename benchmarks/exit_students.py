"""A network with early exits against smaller networks without, at equal accuracy, in CPU time.

Takes finished runs: one whose student has early exits, and others of the same data. For each of these the thresholds
are the cheapest ones with which the exits are as accurate as it is on the validation split; the test split says what
that is worth. All sides take turns in one process; what is kept is process CPU time for an image, of each side in the
way that suits it best: all images of a batch at once, or as few at a time as exits take them.

    OMP_NUM_THREADS=1 python -m benchmarks.exit_students runs/exits runs/resnet8 runs/resnet14 --out students.json
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.exits import through
from benchmarks.timing import in_turn, shown, summary
from understudy.errors import UserError
from understudy.evaluation.cost import count_macs
from understudy.exits import Policy, predict
from understudy.exits.curve import tradeoff
from understudy.exits.outcome import Outcome, replay
from understudy.exits.runtime import CHUNK
from understudy.exits.staged import Staged
from understudy.experiments.assemble import assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.evaluate import settings_of_run
from understudy.experiments.exit_run import ExitRun, open_run

BATCHES = (1, 16, 128)


class Side(NamedTuple):
    """One of those that are compared.

    Attributes:
        name: Of its network, or the network that its exits are as accurate as.
        validation: Accuracy on the validation split.
        test: On the test split.
        macs: Multiply-adds of a test image.
        run: Predicts a batch.
    """

    name: str
    validation: float
    test: float
    macs: float
    run: Callable[[Tensor], object]


class Exits:
    """The run with early exits.

    Args:
        path: Its directory.
    """

    def __init__(self, path: str) -> None:
        self.opened: ExitRun = open_run(path, [("device", "cpu")])
        self.staged: Staged = self.opened.staged
        self.validation, self.test = (self.opened.collect(split) for split in ("val", "test"))
        self.curve: list[Outcome] = tradeoff(self.validation)

    def whole(self) -> Side:
        """All images take the main exit, and no head is run."""
        policy = Policy.of("entropy", [float("-inf")] * len(self.staged.branches.heads))
        return self._side(f"{self.opened.path.name}, whole network", policy)

    def as_accurate_as(self, other: Side) -> Side:
        """The cheapest thresholds that are as accurate on validation images; the best ones where none are."""
        enough = [point for point in self.curve if point.accuracy >= other.validation]
        point = min(enough, key=lambda point: point.macs) if enough else self.curve[-1]
        return self._side(f"{self.opened.path.name}, exits as accurate as {other.name}", point.policy)

    def _side(self, name: str, policy: Policy) -> Side:
        (validation,), (test,) = replay(self.validation, [policy]), replay(self.test, [policy])
        run = partial(predict, self.staged, policy=policy)
        return Side(name, validation.accuracy, test.accuracy, test.macs, run)


def static(path: str) -> Side:
    """The student of a finished run."""
    made = assemble(settings_of_run(path, [("device", "cpu")]))
    model = made.student.eval()
    accuracies = {}
    for split in ("val", "test"):
        found = made.predictions(model, split)
        accuracies[split] = (found.logits.argmax(1) == found.labels).double().mean().item()
    macs = count_macs(model, made.example())
    return Side(Path(path).name, accuracies["val"], accuracies["test"], macs, model)


def sides_of(exits: Exits, smaller: Sequence[str]) -> list[Side]:
    """The whole network, and each smaller one with the exits that are as accurate."""
    sides = [exits.whole()]
    for path in smaller:
        found = static(path)
        if found.macs >= sides[0].macs:
            raise UserError(f"the student of '{path}' is not smaller than the network with exits: leave it out")
        sides += [found, exits.as_accurate_as(found)]
    return sides


def mixed(made: Assembly, num: int) -> Tensor:
    """Test images of all classes by chance: a folder is in the order of its classes."""
    images = torch.cat([batch.image for batch in made.batches("test")])
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:num]]


def measure(sides: Sequence[Side], images: Tensor, batch: int, rounds: int) -> list[dict[str, float]]:
    """CPU milliseconds for an image of each side, in its faster way."""
    sizes = sorted({batch, min(batch, CHUNK)})
    loops: dict[str, Callable[[], object]] = {
        f"{number}, {size}": partial(through, side.run, images.split(size))
        for number, side in enumerate(sides)
        for size in sizes
    }
    spent = in_turn(loops, rounds)
    found = {name: summary([1000 * each / len(images) for each in turns]) for name, turns in spent.items()}
    return [
        min((found[f"{number}, {size}"] for size in sizes), key=lambda each: each["median"])
        for number in range(len(sides))
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished run with early exits")
    parser.add_argument("smaller", nargs="+", help="finished runs of smaller networks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=512, help="of the test split, per round")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    exits = Exits(given.run)
    sides = sides_of(exits, given.smaller)
    images = mixed(exits.opened.made, given.images)
    spent = {batch: measure(sides, images, batch, given.rounds) for batch in given.batches}
    print(f"| | validation | test | MACs |{''.join(f' batch {batch} |' for batch in spent)}")
    rows: list[dict[str, Any]] = []
    for number, side in enumerate(sides):
        columns = {str(batch): found[number] for batch, found in spent.items()}
        cells = "".join(f" {shown(each, 3)} |" for each in columns.values())
        print(f"| {side.name} | {side.validation:.2%} | {side.test:.2%} | {side.macs / 1e6:.1f} M |{cells}")
        rows.append({**side._asdict(), "ms": columns})
        del rows[-1]["run"]
    if given.out:
        given.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
