"""Whether the first step of the training gives finite numbers."""

import math
from collections.abc import Iterator
from copy import deepcopy

import torch

from understudy.distiller import LABEL_TERM, Step
from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, ok, warning
from understudy.doctor.probe import PROBES
from understudy.engine.device import choose_precision
from understudy.errors import UserError
from understudy.experiments.assembly import Assembly
from understudy.types import Batch

# Times the cross-entropy of guessing that a fresh student may begin with.
MUCH = 4.0


@PROBES.register("first-step")
def first_step(case: Case) -> Iterator[Finding]:
    """Errors where it fails or is not finite; a warning where a fresh student begins far worse than guessing.

    It is done on a copy, in train mode and in the precision of the run, on one part of an accumulated batch.
    """
    made = case.made
    try:
        batch = next(iter(case.training.loader.batches(0)))
        step, norm = _tried(made, batch)
    except UserError:
        raise
    except (RuntimeError, ValueError) as failure:
        reason = " ".join(str(failure).split())
        yield error(f"the first step fails: {reason}", fix=_mended(reason))
        return
    terms = {name: term.raw.item() for name, term in step.terms.items()}
    evidence = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    precision = made.settings.train.precision
    if not math.isfinite(step.loss.item()) or not (math.isfinite(norm) or precision == "fp16"):
        safer = "train.precision=fp32" if precision in ("fp16", "bf16") else "a smaller weight of the term"
        yield error("the first step is not finite", f"{evidence}, gradient norm {norm:.4g}", safer)
        return
    guessing = math.log(len(case.data.classes))
    if terms.get(LABEL_TERM, 0) > MUCH * guessing:
        yield warning(
            "the student begins far worse than guessing: its input or its first weights are out of scale",
            f"cross-entropy {terms[LABEL_TERM]:.3g}, {guessing:.3g} for guessing",
            "student.mean and student.std that bring pixels near -1..1, or a smaller scale of its last layer",
        )
    else:
        yield ok("the first step is finite", f"{evidence}, gradient norm {norm:.4g}")


def _tried(made: Assembly, batch: Batch) -> tuple[Step, float]:
    """A step and the norm of its gradient."""
    precision = choose_precision(made.settings.train.precision)
    # Every so manieth image, so that labelled and unlabelled ones are both there.
    part = batch.rows(torch.arange(0, len(batch.image), made.settings.train.accumulate))
    copied = deepcopy(made.distiller).train()
    copied.begin(made.distiller.stages()[-1])
    targets = made.teacher(part) if made.teacher else None
    with torch.autocast(made.device.type, precision, enabled=precision != torch.float32):
        step: Step = copied(part, targets)
    step.loss.backward()
    gradients = [p.grad for p in copied.parameters() if p.grad is not None]
    return step, sum(float(torch.linalg.vector_norm(gradient)) ** 2 for gradient in gradients) ** 0.5


def _mended(reason: str) -> str:
    if "more than 1 value per channel" in reason:
        return "train.batch_size=32 and train.accumulate=1: BatchNorm needs more than one image"
    if "out of memory" in reason:
        return "train.accumulate=2, or a smaller train.batch_size"
    return "mend what the message names; train.precision=fp32 if it is about a type"
