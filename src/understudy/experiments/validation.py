"""What is measured on the validation split after each epoch, for the log and to select the epoch."""

import torch
from torch import nn

from understudy.distiller import Distiller
from understudy.evaluation.accuracy import scores
from understudy.evaluation.logit_gap import logit_gap
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assembly import Assembly
from understudy.experiments.exit_scores import KEYS, collect_exits, has_exits, score_each
from understudy.methods.base import Method
from understudy.methods.logits import LogitMethod
from understudy.types import Batch, Outputs


def validation_scores(made: Assembly, student: nn.Module, taught: Predictions | None = None) -> dict[str, float]:
    """Scores on the validation split: those of the student, and where exits are trained the means over all exits.

    `exits.accuracy` and `exits.nll` are what selects the epoch of such a student, as in the code of
    SanityLacking/Self-Distillation: with a frozen trunk its own accuracy never changes. `exits.1` and so on are the
    accuracies of the early exits. `loss` is what is trained, where that can be told from logits; `gap` and
    `gap_centred` are the distance to the teacher (see `logit_gap`).

    Args:
        made: The run.
        student: What is measured.
        taught: What the teacher says about the split, measured once before the training; None without a teacher.
    """
    trained = any(isinstance(method, Method) and method.needs_exits for method in made.distiller.methods)
    if trained and has_exits(student):
        every = collect_exits(made, student, "val")
        main, found = Predictions(every.logits[-1], every.labels), _exit_scores(every)
    else:
        main = made.predictions(student, "val")
        found = scores(main)
    if reads_logits_alone(made.distiller):
        found["loss"] = logit_loss(made.distiller, main, taught)
    if taught is not None:
        gap = logit_gap(main.logits, taught.logits)
        found |= {"gap": gap.plain, "gap_centred": gap.centred}
    return found


def reads_logits_alone(distiller: Distiller) -> bool:
    """Whether the loss of a split follows from its logits, image by image."""
    return all(isinstance(method, LogitMethod) and not method.relates_images for method in distiller.methods)


def logit_loss(distiller: Distiller, student: Predictions, taught: Predictions | None) -> float:
    """The weighted loss, as in training, over all images of a split at once.

    Args:
        distiller: One of which `reads_logits_alone` is true; its weights are those of this moment.
        student: What the student says.
        taught: What the teacher says; None without one.
    """
    device, num = distiller.label_weight.device, len(student.labels)
    where, unseen = torch.arange(num, device=device), torch.empty(num, 0, device=device)
    batch = Batch(unseen, student.labels.to(device), where, torch.full_like(where, -1))
    own = Outputs(student.logits.to(device), {})
    theirs = None if taught is None else Outputs(taught.logits.to(device), {})
    with torch.no_grad():
        terms = {**distiller.label_terms(own, batch), **distiller.method_terms(own, theirs, batch)}
        return torch.stack([term.weighted for term in terms.values()]).sum().item()


def _exit_scores(found: Predictions) -> dict[str, float]:
    each = score_each(found)
    means = {f"exits.{key}": float(torch.tensor([one[key] for one in each]).double().mean()) for key in KEYS}
    early = {f"exits.{number}": one["accuracy"] for number, one in enumerate(each[:-1], start=1)}
    return {**each[-1], **means, **early}
