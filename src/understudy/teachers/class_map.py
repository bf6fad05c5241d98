"""A teacher that knows other classes than its student learns."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from understudy.errors import UserError, did_you_mean
from understudy.losses.checks import at_least_float32

Groups = tuple[tuple[int, ...], ...]
"""For each class of the student the ids of the teacher's classes that it stands for."""


class MergeClasses(nn.Module):
    """The teacher's logits -> logits of the student's classes.

    The logit of a class that stands for several of the teacher's is their log-sum-exp, so that its probability is the
    sum of theirs; classes of no group are left out, and the others share the probability. Both hold at temperature 1:
    a method softens the merged logits.

    Args:
        groups: Class ids of the teacher for each class of the student.

    Raises:
        ValueError: A group is empty.
    """

    index: Tensor
    missing: Tensor

    def __init__(self, groups: Groups) -> None:
        super().__init__()
        if not groups or not all(groups):
            raise ValueError("every class of the student needs at least one class of the teacher")
        self.groups = groups
        width = max(map(len, groups))
        padded = [[*group, *[group[0]] * (width - len(group))] for group in groups]
        # Not persistent: a model's state_dict holds the network's own keys only.
        self.register_buffer("index", torch.tensor(padded), persistent=False)
        lengths = torch.tensor([len(group) for group in groups])
        self.register_buffer("missing", torch.arange(width) >= lengths[:, None], persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """(batch, teacher's classes) -> (batch, student's classes), float32 or better."""
        grouped = at_least_float32(logits)[:, self.index]
        return grouped.masked_fill(self.missing, -torch.inf).logsumexp(2)


def groups_by_name(ours: Sequence[str], theirs: Sequence[str]) -> Groups | None:
    """Pair classes of equal names.

    Args:
        ours: The student's classes in the order of its logits.
        theirs: The teacher's.

    Returns:
        The teacher's class for each of the student's; None if the teacher lacks one or has two of one name.
    """
    if any(theirs.count(name) != 1 for name in ours):
        return None
    return tuple((theirs.index(name),) for name in ours)


def groups_by_map(ours: Sequence[str], theirs: Sequence[str], chosen: Mapping[str, Sequence[str]]) -> Groups:
    """Pair classes as a user says; what stands in no group is paired by its name.

    Args:
        ours: The student's classes in the order of its logits.
        theirs: The teacher's.
        chosen: Names of the teacher's classes by name of the student's class.

    Raises:
        UserError: A name is unknown, a class of the teacher stands in two groups, or one of the student has no group.
    """
    for name in chosen:
        _check_known(name, ours, "student")
    found = {name: _group(name, theirs, chosen) for name in ours}
    used = [other for group in found.values() for other in group]
    for other in used:
        if used.count(other) > 1:
            raise UserError(f"teacher.classes uses the teacher's class '{other}' twice: put it into one group")
    return tuple(tuple(theirs.index(other) for other in found[name]) for name in ours)


def _group(name: str, theirs: Sequence[str], chosen: Mapping[str, Sequence[str]]) -> list[str]:
    if name not in chosen and name not in theirs:
        raise UserError(f"teacher.classes says nothing about '{name}', and the teacher has no class of that name")
    group = list(chosen.get(name, [name]))
    if not group:
        raise UserError(f"teacher.classes gives '{name}' no class of the teacher: name one or more")
    for other in group:
        _check_known(other, theirs, "teacher")
    return group


def _check_known(name: str, names: Sequence[str], whose: str) -> None:
    if names.count(name) != 1:
        problem = "has no class" if name not in names else "has several classes called"
        raise UserError(f"teacher.classes: the {whose} {problem} '{name}': {did_you_mean(name, set(names) - {name})}")
