"""What leaving early saves in CPU time, for a planted mix of exits, against the whole network and smaller ones.

ResNet-18 with a stem for 32x32, three early exits; 45, 25, 15 and 15 % of the images leave at each, in random order.
Who leaves is planted, but the entropy that would decide is computed. All sides take turns in one process; what is kept
is process CPU time for an image. The speed-up is against the whole network in the way that suits it best: either
layout, all images of a batch at once or a few at a time. The smaller ones go both ways as well.

    OMP_NUM_THREADS=1 python -m benchmarks.exits --out exits.json

The planted mix says nothing about accuracy: `benchmarks.exit_students` compares at equal accuracy.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.timing import in_turn, shown, summary
from understudy.classifier import Classifier, InputSpec
from understudy.exits import add_exits, predict_all, run_stages, split_stages
from understudy.exits.runtime import CHUNK
from understudy.exits.scores import doubt
from understudy.exits.staged import Staged
from understudy.models import create_model

SHARES = (0.45, 0.25, 0.15, 0.15)
SIZE = 32
BATCHES = (1, 16, 128)
SMALLER = ("wrn-16-2", "resnet56")
THRESHOLD = 0.5


class Planted:
    """Decides as planned, and computes what a real decision would."""

    def __init__(self, plan: Tensor) -> None:
        self.coming = plan

    def __call__(self, number: int, logits: Tensor) -> Tensor:
        """Which of the images that came so far leave."""
        _ = doubt(logits) < THRESHOLD
        leaves = self.coming == number
        self.coming = self.coming[~leaves]
        return leaves


def plan_of(num: int) -> Tensor:
    """The exit of each of `num` images, in the shares of the mix as nearly as they divide."""
    bounds = torch.tensor(SHARES).cumsum(0).mul(num).round().long()
    exits = torch.searchsorted(bounds, torch.arange(num), right=True).clamp(max=len(SHARES) - 1)
    return exits[torch.randperm(num, generator=torch.Generator().manual_seed(0))]


def network() -> Classifier:
    """ResNet-18 whose stem keeps 32x32."""
    made = resnet18(num_classes=10)
    made.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    made.maxpool = nn.Identity()
    return Classifier(made, spec=InputSpec(), classes=[str(number) for number in range(10)]).eval()


def channels_last(model: Classifier) -> Classifier:
    """In the layout that suits small batches."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def leaving(staged: Staged, images: Sequence[Tensor], plans: Sequence[Tensor]) -> None:
    """Every batch, each image as far as planned."""
    for batch, plan in zip(images, plans, strict=True):
        taken = run_stages(staged, batch, Planted(plan)).exit
        assert torch.equal(taken, plan)


def through(model: Callable[[Tensor], Any], images: Sequence[Tensor]) -> None:
    """Every batch through the whole of a model."""
    with torch.no_grad():
        for batch in images:
            model(batch)


def without_exits(name: str, model: nn.Module, images: Sequence[Tensor]) -> dict[str, Callable[[], object]]:
    """A network at its best: a batch at once, and of a large batch as few at a time as stages take."""
    loops: dict[str, Callable[[], object]] = {name: partial(through, model, images)}
    if len(images[0]) > CHUNK:
        loops[f"{name}, {CHUNK} at a time"] = partial(through, model, torch.cat(list(images)).split(CHUNK))
    return loops


def measure(batch: int, num: int, rounds: int, heads: str) -> dict[str, Any]:
    """CPU milliseconds for an image by side, and the speed-up of leaving early."""
    torch.manual_seed(0)
    model = network()
    images = torch.rand(num, 3, SIZE, SIZE).split(batch)
    plans = plan_of(num).split(batch)
    loops: dict[str, Callable[[], object]] = {}
    whole = {"whole network": channels_last(model), "whole network, channels first": network()}
    for name, model in whole.items():
        loops |= without_exits(name, model, images)
    wholes = list(loops)
    branched = channels_last(network())
    add_exits(branched, images[0], exits=["layer1", "layer2", "layer3"], heads=heads)
    staged = split_stages(branched, images[0])
    loops["all exits, then choose"] = partial(through, partial(predict_all, branched), images)
    loops["early exits"] = partial(leaving, staged, images, plans)
    for name in SMALLER:
        smaller = channels_last(create_model(name, classes=10).eval())
        loops |= without_exits(f"{name}, no exits", smaller, images)
    spent = in_turn(loops, rounds)
    found = {name: summary([1000 * seconds / num for seconds in turns]) for name, turns in spent.items()}
    fastest = min(wholes, key=lambda name: found[name]["median"])
    pairs = zip(spent[fastest], spent["early exits"], strict=True)
    expected = sum(share * macs for share, macs in zip(SHARES, staged.macs, strict=True))
    return {
        "ms": found,
        "against": fastest,
        "speed-up": summary([slow / early for slow, early in pairs]),
        "ideal": sum(staged.stage_macs) / expected,
        "heads": [macs / sum(staged.stage_macs) for macs in staged.head_macs],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=0, help="per round; 0 is a multiple of the batch that fits")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--heads", default="linear")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    found = {
        batch: measure(batch, given.images or max(20, 160 // batch * batch, batch), given.rounds, given.heads)
        for batch in given.batches
    }
    for batch, row in found.items():
        speed_up = f"{shown(row['speed-up'], 2)}x the {row['against']}"
        print(f"batch {batch}: {speed_up}, by multiply-adds {row['ideal']:.2f}x")
        for name, spent in row["ms"].items():
            print(f"| {name} | {shown(spent, 2)} ms |")
    if given.out:
        given.out.write_text(json.dumps({"heads": given.heads, "batches": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
