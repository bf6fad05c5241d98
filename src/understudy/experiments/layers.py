"""Automatic pairing of layers for a run."""

from collections.abc import Sequence

from torch import Tensor, nn

from understudy.classifier import Classifier
from understudy.experiments.assembly import as_user_error
from understudy.matching import Match, match_layers
from understudy.methods.base import Method
from understudy.methods.feature import FeatureMethod
from understudy.teachers import Ensemble


def choose_layers(methods: Sequence[Method], student: nn.Module, teacher: nn.Module | None, image: Tensor) -> list[str]:
    """Give the methods that read layers, and were told none, those of an automatic pairing.

    Args:
        methods: The methods of a run.
        student: The network to train.
        teacher: The network to learn from; of an `Ensemble` the first member is paired.
        image: A batch that both take.

    Returns:
        What was chosen, one line for each method.

    Raises:
        UserError: The networks have no layers of the kind that a method reads.
    """
    undecided = [method for method in methods if _is_undecided(method)]
    if teacher is None or not undecided:
        return []
    match = _match(student, teacher, image)
    notes: list[str] = []
    for method in undecided:
        with as_user_error("method"):
            method.choose(match)
            ours, theirs = method.taps()
        if ours:
            read = f"{', '.join(ours)} of the student and {', '.join(theirs)} of the teacher"
            notes.append(f"{type(method).__name__} reads {read}")
        if isinstance(method, FeatureMethod) and method.where == "preact" and match.activated:
            late = "; ".join(" and ".join(pair) for pair in match.activated)
            name = type(method).__name__
            notes.append(f"warning: {name} wants pre-activations, and gets what comes after them: {late}")
    return notes


def _is_undecided(method: Method) -> bool:
    if type(method).choose is Method.choose:
        return False
    try:
        return not method.taps().student
    except ValueError:
        return True


def _match(student: nn.Module, teacher: nn.Module, image: Tensor) -> Match:
    if not isinstance(teacher, Ensemble):
        return match_layers(student, teacher, image)
    member = teacher.members[0]
    prefix = "members.0.network" if isinstance(member, Classifier) else "members.0"
    found = match_layers(student, member, image)
    return Match(*(tuple((ours, f"{prefix}.{theirs}") for ours, theirs in pairs) for pairs in found))
