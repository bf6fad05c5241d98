"""Speed and memory of the expensive losses against their naive forms, value and gradient being equal.

Batch 128, float32, forward and backward on one thread. The two sides take turns in one process for the time, which is
process CPU time; each side's memory is the rise of the resident set's peak in a process of its own (Linux).

    python benchmarks/losses.py --rounds 5 --out losses.json

The naive forms are what the formulas say, as public code writes them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

from understudy.losses.attention import attention_loss
from understudy.losses.contrastive import contrast_scores, draw_outside, log_normalizer, nce_loss
from understudy.losses.fsp import fsp_loss
from understudy.losses.nst import nst_loss
from understudy.losses.rkd import rkd_angle_loss, rkd_distance_loss

BATCH = 128
NUM_IMAGES = 50_000
NUM_NEGATIVES = 16_384
WIDTH = 128
TEMPERATURE = 0.07
# Relative to the largest element of the gradient, in float32.
TOLERANCE = 1e-4

Form = Callable[[list[Tensor], list[Tensor]], Tensor]


class Case(NamedTuple):
    """A loss in two forms, on tensors of the student and of the teacher."""

    student: list[tuple[int, ...]]
    teacher: list[tuple[int, ...]]
    ours: Form
    naive: Form


def naive_nst(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """The kernel of all pairs of channels, from products at every position."""

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        return (first[:, None] * second[:, :, None]).sum(3).square().mean()

    ours, theirs = (normalize(features[0].flatten(2), dim=2) for features in (student, teacher))
    return kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs)


def naive_fsp(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Matrices from products at every position."""

    def matrix(start: Tensor, end: Tensor) -> Tensor:
        return (start.flatten(2)[:, :, None] * end.flatten(2)[:, None]).mean(3)

    return (matrix(*student) - matrix(*teacher)).square().mean()


def naive_at(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """The mean over channels, normalised."""
    ours, theirs = (normalize(features[0].pow(2).mean(1).flatten(1)) for features in (student, teacher))
    return (ours - theirs).pow(2).mean()


def naive_rkd(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Sides and angles of all triples at once."""

    def relations(features: Tensor) -> tuple[Tensor, Tensor]:
        sides = features[None] - features[:, None]
        directions = normalize(sides, dim=2)
        # A constant where the distance is 0, whose square root has no gradient.
        square = sides.square().sum(2)
        distances = torch.where(square > 0, square, 1).sqrt() * (square > 0)
        return distances / distances[distances > 0].mean(), directions @ directions.mT

    (ours, our_angles), (theirs, their_angles) = relations(student[0]), relations(teacher[0])
    return 25 * smooth_l1_loss(ours, theirs) + 50 * smooth_l1_loss(our_angles, their_angles)


def our_rkd(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Distances and angles with their usual weights."""
    return 25 * rkd_distance_loss(student[0], teacher[0]) + 50 * rkd_angle_loss(student[0], teacher[0])


class Contrast:
    """Memory banks and drawn negatives, the same for both forms."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.banks = [normalize(torch.randn(NUM_IMAGES, WIDTH)) for _ in range(2)]
        rows = torch.randperm(NUM_IMAGES)[:BATCH]
        random = torch.randint(2**31, (BATCH, NUM_NEGATIVES))
        drawn = draw_outside(rows, torch.ones_like(rows), NUM_IMAGES, random)
        self.chosen = torch.cat([rows[:, None], drawn], 1)

    def ours(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """As in `understudy.methods.crd`, with the copy of the bank."""
        total = student[0].new_zeros(())
        for embedded, bank in zip((*student, *teacher), self.banks, strict=True):
            scores = contrast_scores(normalize(embedded), bank.clone(), self.chosen) / TEMPERATURE
            total = total + nce_loss(scores, log_normalizer(scores, NUM_IMAGES), NUM_IMAGES)
        return total

    def naive(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """Gather the rows of all negatives, then multiply, exponentiate, divide, take logarithms."""
        total = student[0].new_zeros(())
        noise = NUM_NEGATIVES / NUM_IMAGES
        for embedded, bank in zip((*student, *teacher), self.banks, strict=True):
            rows = bank.index_select(0, self.chosen.flatten()).view(BATCH, -1, WIDTH)
            likelihood = torch.exp(torch.bmm(rows, normalize(embedded)[:, :, None])[:, :, 0] / TEMPERATURE)
            likelihood = likelihood / (likelihood.detach().mean() * NUM_IMAGES)
            matching, others = likelihood[:, 0], likelihood[:, 1:]
            total = total - (matching / (matching + noise + 1e-7)).log().sum() / BATCH
            total = total - (noise / (others + noise + 1e-7)).log().sum() / BATCH
        return total


def cases(wanted: str | None = None) -> dict[str, Case]:
    """All losses, or one; the memory banks are made where they are needed."""
    early, late = (BATCH, 16, 32, 32), (BATCH, 64, 8, 8)
    contrast = Contrast() if wanted in (None, "crd") else None
    found = {
        "nst 16x32x32": Case([early], [early], lambda s, t: nst_loss(s[0], t[0]), naive_nst),
        "nst 64x8x8": Case([late], [late], lambda s, t: nst_loss(s[0], t[0]), naive_nst),
        "fsp": Case([early] * 2, [early] * 2, lambda s, t: fsp_loss((s[0], s[1]), (t[0], t[1])), naive_fsp),
        "rkd": Case([(BATCH, 64)], [(BATCH, 64)], our_rkd, naive_rkd),
        "at": Case([early], [early], lambda s, t: attention_loss(s[0], t[0]), naive_at),
    }
    if contrast:
        found["crd"] = Case([(BATCH, WIDTH)], [(BATCH, WIDTH)], contrast.ours, contrast.naive)
    return found if wanted is None else {wanted: found[wanted]}


def inputs(case: Case) -> tuple[list[Tensor], list[Tensor]]:
    """Random tensors; those of the student want gradients."""
    torch.manual_seed(0)
    student = [torch.randn(shape).requires_grad_() for shape in case.student]
    return student, [torch.randn(shape) for shape in case.teacher]


def step(form: Form, student: list[Tensor], teacher: list[Tensor]) -> tuple[float, list[Tensor]]:
    """Value and gradient."""
    loss = form(student, teacher)
    return loss.item(), list(torch.autograd.grad(loss, student))


def difference(case: Case) -> float:
    """The larger of the relative differences of value and gradient between the two forms."""
    student, teacher = inputs(case)
    (value, gradient), (other, other_gradient) = (step(form, student, teacher) for form in (case.ours, case.naive))
    far = [(a - b).abs().max() / b.abs().max() for a, b in zip(gradient, other_gradient, strict=True)]
    return max(abs(value - other) / abs(other), *(float(ratio) for ratio in far))


def cpu_ms(case: Case, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of process CPU time of both forms, in turn."""
    student, teacher = inputs(case)
    found: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        for form, times in zip((case.ours, case.naive), found, strict=True):
            start = time.process_time()
            step(form, student, teacher)
            times.append(1e3 * (time.process_time() - start))
    return found


def peak_mb(name: str, side: str) -> float:
    """How much a step adds to the resident memory of this process, at its peak."""
    case = cases(name)[name]
    student, teacher = inputs(case)
    # What torch imports and keeps when it first multiplies and differentiates is not the loss's.
    warm = torch.ones(64, 64, requires_grad=True)
    (warm @ warm).sum().backward()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    step(case.ours if side == "ours" else case.naive, student, teacher)
    return (_status("VmHWM") - before) / 1e3


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))


def _peak_of(name: str, side: str) -> float:
    command = [sys.executable, __file__, "--case", name, "--side", side]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure all cases, print a table and stop with an error where the forms differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", help="one loss only")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--side", choices=["ours", "naive"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.side:
        print(peak_mb(options.case, options.side))
        return
    found: dict[str, dict[str, float]] = {}
    print(f"{'loss':14}{'naive ms':>10}{'MB':>8}{'ours ms':>10}{'MB':>8}{'faster':>9}{'difference':>12}")
    for name, case in cases(options.case).items():
        far = difference(case)
        ours, naive = (statistics.median(times) for times in cpu_ms(case, options.rounds))
        memory = {side: _peak_of(name, side) for side in ("ours", "naive")}
        found[name] = {
            "naive_cpu_ms": naive,
            "naive_peak_mb": memory["naive"],
            "ours_cpu_ms": ours,
            "ours_peak_mb": memory["ours"],
            "faster": naive / ours,
            "difference": far,
        }
        print(
            f"{name:14}{naive:10.1f}{memory['naive']:8.0f}{ours:10.1f}{memory['ours']:8.0f}"
            f"{naive / ours:8.1f}x{far:12.1e}",
            flush=True,
        )
    if options.out:
        options.out.write_text(
            json.dumps({"torch": torch.__version__, "rounds": options.rounds, "losses": found}, indent=2)
        )
    wrong = [name for name, figures in found.items() if not figures["difference"] < TOLERANCE]
    if wrong:
        sys.exit(f"value or gradient differ from the naive form: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
