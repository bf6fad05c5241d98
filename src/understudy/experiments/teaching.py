"""The teacher of a run, or several: built for the student's classes, measured and calibrated before it teaches."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from understudy.classifier import Classifier
from understudy.data import ImageData
from understudy.errors import UserError
from understudy.evaluation.accuracy import at_chance, scores
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.temperature import fit_temperature
from understudy.experiments.assembly import Assembly, as_user_error
from understudy.experiments.networks import make_classifier, refuse_size, wrapped
from understudy.experiments.sections import TeacherSettings
from understudy.experiments.settings import RunSettings, teacher_names
from understudy.models import known_classes
from understudy.models.saved import is_saved
from understudy.teachers import AdjustedClassifier, Ensemble, groups_by_map, groups_by_name, members_of
from understudy.teachers.class_map import Groups
from understudy.yaml_file import read_yaml

Tree = Mapping[str, Any]
Say = Callable[[str], None]


class Measured(NamedTuple):
    """What was found out about the teacher on the validation split.

    Attributes:
        val: Its scores; those of the whole ensemble where there are several.
        details: `members`, the scores of each, where there are several; `temperatures` where they were fitted.
        predictions: What it said there, or the whole ensemble.
    """

    val: dict[str, float]
    details: dict[str, Any]
    predictions: Predictions


def build_teacher(
    settings: RunSettings, given: nn.Module | None, data: ImageData, size: int
) -> Classifier | Ensemble | None:
    """The teacher that settings name, answering in the data's classes.

    Args:
        settings: The resolved settings.
        given: A network that takes the place of what they name; an `Ensemble` is used as it is.
        data: What the student learns.
        size: Height and width of the batches in pixels.

    Raises:
        UserError: It cannot be built, or does not know the classes.
    """
    if isinstance(given, Ensemble):
        return given
    chosen = settings.teacher
    if given is not None:
        if chosen and chosen.get("classes") and not isinstance(given, Classifier):
            raise UserError("teacher.classes needs a teacher whose classes have names: give a Classifier with classes")
        wanted = (chosen or {}).get("size")
        if isinstance(given, Classifier):
            refuse_size(wanted)
        model = given if isinstance(given, Classifier) else wrapped(given, data, size, chosen=wanted)
        return _adjusted(model, chosen or {"name": model.name}, data)
    if not chosen:
        return None
    names = teacher_names(chosen)
    members = [_member({**chosen, "name": name}, data, size) for name in names]
    if isinstance(chosen["name"], str):
        return members[0]
    with as_user_error("teacher"):
        return Ensemble(
            members,
            average=chosen["average"],
            shares=chosen["shares"],
            temperature=chosen["average_temperature"] or _temperature_of(settings.method),
        )


def teacher_notes(teacher: Classifier | Ensemble | None) -> list[str]:
    """What was done about classes, one line each."""
    found = [
        (member, member.merge)
        for member in members_of(teacher or nn.Module())
        if isinstance(member, AdjustedClassifier)
    ]
    return [
        f"teacher {member.name}: {int((~merge.missing).sum())} of its classes teach {len(member.classes)}"
        for member, merge in found
        if merge is not None
    ]


def measure_teacher(made: Assembly, say: Say) -> Measured | None:
    """Measure each teacher before it teaches, and all together; fit temperatures where that was asked for.

    Args:
        made: The run; fitted temperatures are set in its teachers.
        say: Takes each line that the user should read.

    Raises:
        UserError: One only guesses, which would make the student worse.
    """
    if made.teacher is None:
        return None
    model, chosen = made.teacher.tapped.model, made.settings.teacher
    assert chosen is not None
    members = members_of(model)
    names = teacher_names(chosen) if len(members) == len(teacher_names(chosen)) else [chosen["name"]] * len(members)
    titles = [f"teacher {name}" for name in names] if len(members) > 1 else ["teacher"]
    details: dict[str, Any] = {}
    found = [_measured(made, member, title, say) for member, title in zip(members, titles, strict=True)]
    if chosen.get("temperature") == "fit":
        temperatures = [
            _fit(member, seen, title, say) for member, seen, title in zip(members, found, titles, strict=True)
        ]
        details["temperatures"] = temperatures
        found = [seen._replace(logits=seen.logits / t) for seen, t in zip(found, temperatures, strict=True)]
    if len(members) == 1:
        return Measured(scores(found[0]), details, found[0])
    details["members"] = [{"name": name, "val": scores(seen)} for name, seen in zip(names, found, strict=True)]
    together = _measured(made, model, f"ensemble of {len(members)} teachers", say)
    return Measured(scores(together), details, together)


def read_class_map(chosen: str | Tree) -> dict[str, list[str]]:
    """Names of the teacher's classes by name of the student's class.

    Args:
        chosen: The mapping itself, student's class -> one or several of the teacher's; a YAML file that holds it; or a
            CSV file with the columns `teacher` and `student`.

    Raises:
        UserError: The file is missing or holds something else.
    """
    if not isinstance(chosen, str):
        tree = chosen
    elif chosen.endswith(".csv"):
        return _read_csv(Path(chosen))
    else:
        tree = read_yaml(Path(chosen))
    return {
        str(name): [str(other) for other in (group if isinstance(group, list | tuple) else [group])]
        for name, group in tree.items()
    }


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read teacher.classes from '{path}': {error}") from error
    if not {"teacher", "student"} <= set(reader.fieldnames or ()):
        raise UserError(f"'{path}' needs the columns teacher and student in its first line, found {reader.fieldnames}")
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(str(row["student"]), []).append(str(row["teacher"]))
    return groups


def _member(chosen: Tree, data: ImageData, size: int) -> Classifier:
    classes = _known_classes(chosen, data.classes)
    return _adjusted(make_classifier(chosen, TeacherSettings, data, size, classes=classes), chosen, data)


def _known_classes(chosen: Tree, ours: Sequence[str]) -> tuple[str, ...] | None:
    """What the teacher's classes are called; None where they are taken for the data's."""
    name, pairing = str(chosen["name"]), chosen["classes"]
    mapped = read_class_map(pairing) if pairing else {}
    wanted = [other for own in ours for other in mapped.get(own, [own])]
    known = known_classes(name, pretrained=chosen["pretrained"], like=wanted)
    if pairing and known is None:
        raise UserError(
            f"teacher.classes needs a teacher whose classes have names, which those of '{name}' have not: give a run "
            "directory, a saved file, published weights (NAME[pretrained]) or, in Python, a Classifier"
        )
    if known is None or pairing or is_saved(name):
        return known
    # Published weights have a head for other classes than the data's, or for all of them in an order of their own.
    return known if len(known) != len(ours) and groups_by_name(ours, known) else None


def _adjusted(model: Classifier, chosen: Tree, data: ImageData) -> Classifier:
    groups = _groups(model, chosen, data.classes)
    if groups is None and chosen.get("temperature") is None:
        return model
    return AdjustedClassifier(model, classes=None if groups is None else data.classes, groups=groups)


def _groups(model: Classifier, chosen: Tree, ours: Sequence[str]) -> Groups | None:
    theirs = [str(name) for name in model.classes]
    if chosen.get("classes"):
        return groups_by_map(ours, theirs, read_class_map(chosen["classes"]))
    if theirs == list(ours):
        return None
    found = groups_by_name(ours, theirs)
    if found is not None:
        return found
    missing = next(name for name in ours if theirs.count(name) != 1)
    raise UserError(
        f"the teacher '{chosen['name']}' has {len(theirs)} classes, the data {len(ours)}, and it has no single class "
        f"'{missing}': choose matching data, or pair classes by teacher.classes={{{missing}: [NAMES]}} or a CSV file"
    )


def _temperature_of(methods: Sequence[Tree]) -> float:
    found = [method["temperature"] for method in methods if isinstance(method.get("temperature"), int | float)]
    return float(found[0]) if found else 1.0


def _measured(made: Assembly, model: nn.Module, title: str, say: Say) -> Predictions:
    predictions = made.predictions(model, "val")
    accuracy = scores(predictions)["accuracy"]
    say(f"{title}: {accuracy:.2%} on {len(predictions.labels)} validation images")
    assert made.settings.teacher is not None
    if at_chance(accuracy, len(made.data.classes), len(predictions.labels)):
        if not made.settings.teacher.get("allow_untrained"):
            raise UserError(
                f"the {title}'s accuracy is {accuracy:.2%}, no better than guessing among "
                f"{len(made.data.classes)} classes: check its weights, normalisation and class order, "
                "or set teacher.allow_untrained=true"
            )
        say(f"warning: the {title} is no better than guessing")
    return predictions


def _fit(member: nn.Module, predictions: Predictions, title: str, say: Say) -> float:
    if not isinstance(member, AdjustedClassifier):
        raise UserError("teacher.temperature=fit cannot change an ensemble made in Python: give its members by name")
    temperature = fit_temperature(predictions)
    member.set_temperature(temperature)
    before, after = (
        scores(seen)["nll"] for seen in (predictions, predictions._replace(logits=predictions.logits / temperature))
    )
    say(f"{title}: temperature {temperature:.3f} fitted; negative log-likelihood {before:.4f} -> {after:.4f}")
    return temperature
