"""How much a student is like its teacher, which is another question than how good it is.

Fidelity and accuracy can part (Stanton et al., Does Knowledge Distillation Really Work?, NeurIPS 2021).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from understudy.evaluation.logit_gap import logit_gap
from understudy.evaluation.predictions import Predictions


class Fidelity(NamedTuple):
    """A student against its teacher, over all images of a split.

    Attributes:
        agreement: Share of images that both give the same class.
        kl: KL(teacher || student) at temperature 1 in nats, averaged over images.
        gap: |teacher's logit - student's|, averaged over images and classes.
        gap_centred: The same after each row's mean was taken off, which changes no probability.
        teacher_errors: Images that the teacher gives a wrong class.
        shared_errors: Share of these that the student gives the same wrong class; None without any.
        shared_errors_expected: That share for a student that makes its own errors, as often and between the same
            classes, but on other images than the teacher; None without errors of the teacher. Images that are hard
            for everyone are shared, too: a plain student of the same size is the fair comparison.
    """

    agreement: float
    kl: float
    gap: float
    gap_centred: float
    teacher_errors: int
    shared_errors: float | None
    shared_errors_expected: float | None


def fidelity(student: Predictions, teacher: Predictions) -> Fidelity:
    """Compare a student with its teacher.

    Args:
        student: All logits of a split.
        teacher: Those of the teacher on the same images in the same order.

    Raises:
        ValueError: They are of other images or have other classes.
    """
    if student.logits.shape != teacher.logits.shape or not torch.equal(student.labels, teacher.labels):
        raise ValueError(
            f"student and teacher must have answered about the same images, got logits of shape "
            f"{tuple(student.logits.shape)} and {tuple(teacher.logits.shape)} or other labels"
        )
    own, other = student.logits.double(), teacher.logits.double()
    called, taught = own.argmax(1), other.argmax(1)
    wrong = taught != student.labels
    count = int(wrong.sum())
    gap = logit_gap(own, other)
    return Fidelity(
        agreement=(called == taught).double().mean().item(),
        kl=kl_div(own.log_softmax(1), other.log_softmax(1), reduction="batchmean", log_target=True).item(),
        gap=gap.plain,
        gap_centred=gap.centred,
        teacher_errors=count,
        shared_errors=(called == taught)[wrong].double().mean().item() if count else None,
        shared_errors_expected=_expected(called, taught, student.labels)[wrong].mean().item() if count else None,
    )


def _expected(called: Tensor, taught: Tensor, labels: Tensor) -> Tensor:
    """How often the student gives the other images of an image's class what the teacher gives this one (images,)."""
    num = int(torch.stack([called, taught, labels]).max()) + 1
    table = torch.bincount(labels * num + called, minlength=num * num).view(num, num)
    others = table[labels, taught] - (called == taught).long()
    return others.double() / (table.sum(1)[labels] - 1).clamp(min=1)
