"""Whether the teacher knows more than chance, and more than a straight line."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from understudy.data.loader import MAX_RESIDENT_SIZE
from understudy.doctor.better import clearly_better
from understudy.doctor.case import Case, watched
from understudy.doctor.finding import Finding, error, ok, warning
from understudy.doctor.probe import PROBES
from understudy.evaluation.accuracy import at_chance, top_accuracy
from understudy.evaluation.per_image import hits
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assembly import Assembly
from understudy.teachers import Ensemble

# Pixels a side that the linear classifier sees.
LINEAR_SIZE = 16
# Of its weights; pixels are standardised.
RIDGE = 1e3


@PROBES.register("teacher-accuracy")
def teacher_accuracy(case: Case) -> Iterator[Finding]:
    """At chance is an error; worse than a linear classifier of the pixels, on small images, is a warning."""
    whole = [("ensemble", case.teacher)] if isinstance(case.teacher, Ensemble) else []
    for title, model in [*((member.title, member.model) for member in case.members), *whole]:
        seen = case.answers(model, "val", title)
        accuracy, count = top_accuracy(seen), len(seen.labels)
        evidence = f"{accuracy:.2%} of {count:,} validation images"
        if at_chance(accuracy, seen.logits.shape[1], count):
            yield _at_chance(title, f"{evidence}; guessing is right in {1 / seen.logits.shape[1]:.2%}", case)
        else:
            yield from _against_linear(title, evidence, seen, case)


def _at_chance(title: str, evidence: str, case: Case) -> Finding:
    allowed = (case.settings.teacher or {}).get("allow_untrained")
    kind = warning if allowed else error
    fix = "teacher=DIR of a finished run, or teacher.weights=FILE; then its normalisation and class order"
    return kind(f"the {title} is no better than guessing", evidence, fix)


def _against_linear(title: str, evidence: str, seen: Predictions, case: Case) -> Iterator[Finding]:
    made = case.teaching
    assert made is not None
    if made.size > MAX_RESIDENT_SIZE:
        yield ok(f"the {title} is better than guessing", evidence)
        return
    linear = _linear_answers(made)
    share = linear.double().mean().item()
    size = min(LINEAR_SIZE, made.size)
    found = f"{evidence}; a linear classifier of {size}x{size} pixels is right in {share:.2%}"
    if clearly_better(linear, hits(seen)):
        yield warning(
            f"the {title} is worse than a linear classifier", found, "a better teacher: more epochs, or other weights"
        )
    else:
        yield ok(f"the {title} is better than guessing", found)


def _linear_answers(made: Assembly) -> Tensor:
    """For each validation image whether ridge regression onto the labels is right, in float64 on the CPU."""
    pixels, labels = _pixels(made, "train")
    mean, std = pixels.mean(0), pixels.std(0).clamp(min=1e-6)
    seen = (pixels - mean) / std
    target = torch.nn.functional.one_hot(labels, len(made.data.classes)).double()
    gram = seen.T @ seen + RIDGE * torch.eye(seen.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, seen.T @ (target - target.mean(0)))
    pixels, labels = _pixels(made, "val")
    logits = (pixels - mean) / std @ weights + target.mean(0)
    return logits.argmax(1) == labels


def _pixels(made: Assembly, split: str) -> tuple[Tensor, Tensor]:
    rows: list[Tensor] = []
    labels: list[Tensor] = []
    size = min(LINEAR_SIZE, made.size)
    for batch in watched(made, split, f"pixels of {split}"):
        assert batch.label is not None
        image = batch.image.double() / (255 if batch.image.dtype == torch.uint8 else 1)
        rows.append(interpolate(image, (size, size), mode="bilinear", antialias=True).flatten(1).cpu())
        labels.append(batch.label.cpu())
    return torch.cat(rows), torch.cat(labels)
