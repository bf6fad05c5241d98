"""Whether the teacher's logits stand in the order of the data's classes."""

from collections.abc import Iterator

import torch
import yaml
from torch import Tensor

from understudy.doctor.better import clearly_better, is_trained
from understudy.doctor.case import Case, Member
from understudy.doctor.finding import Finding, error, note, ok
from understudy.doctor.order import best_order, right_in_best_order
from understudy.doctor.probe import PROBES
from understudy.experiments.settings import OBJECT
from understudy.experiments.teaching import read_class_map
from understudy.models import known_classes

MAX_SHOWN = 6
# With fewer images of a class, which logit stands for it is often not found.
PER_CLASS = 5


@PROBES.register("class-order")
def class_order(case: Case) -> Iterator[Finding]:
    """An error where another order of the logits makes the teacher clearly better."""
    num = len(case.data.classes)
    for member in case.members:
        seen = case.answers(member.model, "val", member.title)
        own, other = right_in_best_order(seen)
        evidence = f"{own.double().mean():.2%} of {len(own):,} validation images as it is"
        tried = f"{evidence}; {other.double().mean():.2%} in an order found on the other half"
        few = len(own) < PER_CLASS * num
        # Of both halves, if there are so many images.
        more = f"--images {2 * PER_CLASS * num}" if few and len(case.data.val) > len(seen.labels) else ""
        if clearly_better(other, own) and is_trained(other, num, found_on=len(own)):
            what = f"the {member.title}'s logits stand in another order than the data's classes"
            # Of all images, for the classes that are rare.
            fix = f"{more}: then the order of all classes can be told" if more else _fix(case, member, best_order(seen))
            yield error(what, tried, fix)
        elif is_trained(own, num):
            yield ok(f"the {member.title}'s class order is the data's", evidence)
        elif few:
            yield note(f"too few images of each class to tell the {member.title}'s class order", tried, more)
        else:
            yield note(f"no other class order makes the {member.title} good", evidence)


def _fix(case: Case, member: Member, order: Tensor) -> str:
    ours, chosen = case.data.classes, case.settings.teacher or {}
    if not _has_names(member, chosen):
        # Logit j means what class it is largest for.
        names = [ours[label] for label in order.argsort().tolist()]
        return f"save it as a Classifier with classes={_shown(names)}: they then pair by name"
    mapped = read_class_map(chosen["classes"]) if chosen.get("classes") else {}
    moved = (order != torch.arange(len(order))).nonzero().squeeze(1).tolist()
    theirs = {ours[label]: mapped.get(ours[order[label]], [ours[order[label]]]) for label in moved}
    pairs = {own: other[0] if len(other) == 1 else other for own, other in theirs.items()}
    # As YAML: a class may be called 7, or no.
    return f"teacher.classes={yaml.safe_dump(pairs, default_flow_style=True, sort_keys=False, width=10**6).strip()}"


def _has_names(member: Member, chosen: dict[str, object]) -> bool:
    """Whether `teacher.classes` applies."""
    if member.name.startswith(OBJECT):
        return True
    return known_classes(member.name, pretrained=bool(chosen.get("pretrained"))) is not None


def _shown(names: list[str]) -> str:
    more = ", ..." if len(names) > 4 * MAX_SHOWN else ""
    return f"[{', '.join(names[: 4 * MAX_SHOWN])}{more}]"
