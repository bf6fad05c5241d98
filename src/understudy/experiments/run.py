"""One run: from settings to a run directory."""

from collections.abc import Callable
from typing import Any

from understudy.classifier import Classifier
from understudy.engine.checkpoint import load_checkpoint
from understudy.engine.distributed import World, wait
from understudy.errors import UserError
from understudy.evaluation.accuracy import at_chance, scores
from understudy.evaluation.cost import measure_cost
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.provenance import provenance
from understudy.experiments.settings import RunSettings
from understudy.experiments.training import Training
from understudy.models import load_weights, save_model
from understudy.record import RunDirectory, write_json

Say = Callable[[str], None]
Result = dict[str, Any]


def run(settings: RunSettings, *, world: World | None = None, given: Given | None = None, say: Say = print) -> Result:
    """Train what the settings say, or go on where an earlier attempt stopped; a finished run is only read.

    The epoch is selected on the validation split; the test split is read once, after that.

    Args:
        settings: The resolved settings.
        world: The processes that work together; alone by default.
        given: Objects that take the place of what the settings name.
        say: Takes each line that the user should read.

    Returns:
        What `result.json` holds.

    Raises:
        UserError: The settings do not fit together, the directory belongs to another run, or the teacher is at chance.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    world = world or World()
    assert settings.out is not None
    directory = RunDirectory(settings.out)
    directory.check(settings.tree())
    if directory.finished():
        say(f"{directory.path} is finished: nothing to do (choose another out=DIR to run it again)")
        return directory.read_result()
    made = assemble(settings, world=world, given=given)
    for note in made.notes:
        say(note)
    teacher = _measure_teacher(made, say)
    training = Training(made, directory, say)
    training.prepare()
    # Nothing is written before everything fits, so that a mistake can be mended under the same name.
    wait()
    if world.first:
        directory.claim(settings.tree())
    resume = load_checkpoint(directory.last) if directory.last.exists() else None
    if world.first and resume is None:
        write_json(directory.provenance, {**provenance(made), "teacher_scores": teacher})
    best = training.run(resume)
    return _finish(made, directory, best, teacher, say)


def _measure_teacher(made: Assembly, say: Say) -> dict[str, float] | None:
    """Measure the teacher before it teaches; one that only guesses would make the student worse."""
    if made.teacher is None:
        return None
    predictions = made.predictions(made.teacher.tapped.model, "val")
    found = scores(predictions)
    say(f"teacher: {found['accuracy']:.2%} on {len(predictions.labels)} validation images")
    assert made.settings.teacher is not None
    if at_chance(found["accuracy"], len(made.data.classes), len(predictions.labels)):
        if not made.settings.teacher.get("allow_untrained"):
            raise UserError(
                f"the teacher's accuracy is {found['accuracy']:.2%}, no better than guessing among "
                f"{len(made.data.classes)} classes: check its weights, normalisation and class order, "
                "or set teacher.allow_untrained=true"
            )
        say("warning: the teacher is no better than guessing")
    return found


def _finish(
    made: Assembly, directory: RunDirectory, best: dict[str, float], teacher: dict[str, float] | None, say: Say
) -> Result:
    wait()
    student = made.distiller.deploy()
    assert isinstance(student, Classifier)
    load_weights(student.network, directory.best)
    found = {split: made.predictions(student, split) for split in ("val", "test")}
    teacher_test = made.teacher and scores(made.predictions(made.teacher.tapped.model, "test"))
    result: Result = {
        "student": made.settings.student["name"],
        "method": [method["name"] for method in made.settings.method],
        "seed": made.settings.seed,
        "epochs": made.settings.train.epochs,
        "selected": {"epoch": int(best["epoch"]) + 1, "by": "accuracy on the validation split"},
        "val": scores(found["val"]),
        "test": scores(found["test"]),
        "teacher": teacher and {"name": _teacher_name(made), "val": teacher, "test": teacher_test},
        "images": {split: len(made.split(split)) for split in ("train", "val", "test")},
        "cost": measure_cost(student, made.example())._asdict(),
    }
    if made.world.first:
        save_model(student.cpu(), directory.student)
        for split, predictions in found.items():
            predictions.save(directory.logits(split))
        write_json(directory.result, result)
    wait()
    _warn_if_at_chance(made, result, say)
    return result


def _teacher_name(made: Assembly) -> str:
    assert made.settings.teacher is not None
    return made.settings.teacher["name"]


def _warn_if_at_chance(made: Assembly, result: Result, say: Say) -> None:
    if at_chance(result["test"]["accuracy"], len(made.data.classes), result["images"]["test"]):
        say("warning: the student did not train: it is no better than guessing on the test split")
