"""One run: from settings to a run directory."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch

from understudy.classifier import Classifier
from understudy.engine.checkpoint import load_checkpoint
from understudy.engine.distributed import World, wait
from understudy.engine.loggers import check_loggers
from understudy.evaluation.accuracy import at_chance, scores
from understudy.evaluation.cost import measure_cost
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.exit_scores import collect_exits, has_exits, score_each
from understudy.experiments.inputs import input_shapes
from understudy.experiments.provenance import check_same_origin, provenance
from understudy.experiments.settings import RunSettings, teacher_names
from understudy.experiments.teaching import Measured, measure_teacher
from understudy.experiments.training import Training
from understudy.models import load_weights, save_model
from understudy.record import RunDirectory, write_json

Say = Callable[[str], None]
Result = dict[str, Any]


class Prepared(NamedTuple):
    """A run that could begin.

    Attributes:
        made: What it works with.
        teacher: What was measured about the teacher; None without one.
        training: The training, with each term's share of the gradient.
    """

    made: Assembly
    teacher: Measured | None
    training: Training


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
        UserError: The settings do not fit together, the directory belongs to another run or is being written, or the
            teacher is at chance.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    world = world or World()
    assert settings.out is not None
    directory = RunDirectory(settings.out)
    directory.check(settings.tree())
    if directory.finished():
        say(f"{directory.path} is finished: nothing to do (choose another out=DIR to run it again)")
        return directory.read_result()
    if world.first and directory.config.exists():
        # Found out before the long way to the first step.
        with directory.locked():
            pass
    ready = prepare(settings, world=world, given=given, say=say)
    # Nothing is written before everything fits, so that a mistake can be mended under the same name.
    wait()
    with directory.locked() if world.first else nullcontext():
        return train(ready, directory, say)


def prepare(
    settings: RunSettings, *, world: World | None = None, given: Given | None = None, say: Say = print
) -> Prepared:
    """Do all that a run does before it writes anything, which finds every mistake that can be found by then.

    Args:
        settings: The resolved settings.
        world: The processes that work together; alone by default.
        given: Objects that take the place of what the settings name.
        say: Takes each line that the user should read.

    Raises:
        UserError: As `run`.
    """
    assert settings.out is not None
    directory = RunDirectory(settings.out)
    directory.check(settings.tree())
    check_loggers(settings.loggers)
    made = assemble(settings, world=world, given=given)
    for note in made.notes:
        say(note)
    teacher = measure_teacher(made, say)
    training = Training(made, directory, say, taught=teacher and teacher.predictions)
    training.prepare()
    return Prepared(made, teacher, training)


def train(ready: Prepared, directory: RunDirectory, say: Say) -> Result:
    """The part of a run that writes; the directory is locked."""
    made, teacher, training = ready
    if made.world.first:
        directory.claim(made.settings.tree())
    wait()
    if directory.finished():
        # By another process, since this one looked.
        return directory.read_result()
    resume = load_checkpoint(directory.last) if directory.last.exists() else None
    origin = provenance(made)
    if resume is not None:
        check_same_origin(directory.read_provenance(), origin)
    elif made.world.first:
        found = {"teacher_scores": teacher and teacher.val, "gradient_shares": training.shares}
        write_json(directory.provenance, {**origin, **found})
    return finish(made, directory, training.run(resume), teacher, say)


def finish(
    made: Assembly, directory: RunDirectory, best: dict[str, float], teacher: Measured | None, say: Say
) -> Result:
    """Measure the best student of a training once on the test split and write down what came out.

    Args:
        made: What was trained.
        directory: Where its best weights are, and where the student and the result go.
        best: The scores of the selected epoch, with its number as `epoch`.
        teacher: What was measured about the teacher; None without one.
        say: Takes each line that the user should read.

    Returns:
        What `result.json` holds.
    """
    wait()
    # As a file of it will be loaded: measured in another layout it would round differently.
    student = made.distiller.deploy().to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    assert isinstance(student, Classifier)
    load_weights(student.network, directory.best)
    found = {split: made.predictions(student, split) for split in ("val", "test")}
    taught = _taught(made, teacher)
    result: Result = {
        "student": made.settings.student["name"],
        "method": [method["name"] for method in made.settings.method],
        "seed": made.settings.seed,
        "epochs": made.settings.train.epochs,
        "stages": made.epochs(),
        "selected": {"epoch": int(best["epoch"]) + 1, "by": "accuracy on the validation split"},
        "val": scores(found["val"]),
        "test": scores(found["test"]),
        "teacher": teacher and _teacher(made, teacher, taught["test"]),
        "images": {split: len(made.split(split)) for split in ("train", "val", "test")},
        "inputs": input_shapes(made),
        "cost": measure_cost(student, made.example())._asdict(),
    }
    exits = {split: collect_exits(made, student, split) for split in ("val", "test")} if has_exits(student) else {}
    if exits:
        result["exits"] = {split: score_each(predictions) for split, predictions in exits.items()}
    if made.world.first:
        save_model(student.cpu(), directory.student)
        for split, predictions in found.items():
            predictions.save(directory.logits(split))
        if exits:
            # For thresholds, which are searched again and again.
            exits["val"].save(directory.exit_logits("val"))
        for split, predictions in taught.items():
            predictions.save(directory.teacher_logits(split))
        write_json(directory.result, result)
    wait()
    _warn_if_at_chance(made, result, say)
    return result


def _taught(made: Assembly, measured: Measured | None) -> dict[str, Predictions]:
    """What the teacher said about each split; nothing without one."""
    if measured is None:
        return {}
    assert made.teacher is not None
    return {"val": measured.predictions, "test": made.predictions(made.teacher.tapped.model, "test")}


def _teacher(made: Assembly, measured: Measured, test: Predictions) -> Result:
    assert made.teacher is not None
    assert made.settings.teacher is not None
    model = made.teacher.tapped.model
    return {
        "name": " + ".join(teacher_names(made.settings.teacher)),
        "val": measured.val,
        "test": scores(test),
        "cost": measure_cost(model, made.example())._asdict(),
        **measured.details,
    }


def _warn_if_at_chance(made: Assembly, result: Result, say: Say) -> None:
    if at_chance(result["test"]["accuracy"], len(made.data.classes), result["images"]["test"]):
        say("warning: the student did not train: it is no better than guessing on the test split")
