"""Evaluate what a run left behind, or any model on any data."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from understudy.engine.device import choose_device
from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.summary import summarise
from understudy.evaluation.temperature import fit_temperature
from understudy.experiments.assemble import assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.costs import cost_record, known_cost, saved_bytes
from understudy.experiments.settings import RunSettings, resolve, teacher_names
from understudy.experiments.teacher_again import build_again
from understudy.models.saved import is_saved, load_model, read_header
from understudy.record import RunDirectory, write_json

Say = Callable[[str], None]
Record = dict[str, Any]
Overrides = Sequence[tuple[str, Any]]
SPLITS = ("val", "test")
# Logits of a split that take long enough to say so.
LARGE = 10_000_000


class Measured(NamedTuple):
    """A model, as far as it is evaluated.

    Attributes:
        name: What it is called.
        predictions: All its logits by split.
        cost: What it costs (see `costs.cost_record`).
    """

    name: str
    predictions: Mapping[str, Predictions]
    cost: Record


def settings_of_run(run: str | Path, overrides: Overrides) -> RunSettings:
    """Settings under which the finished student of a run sees the data as in training.

    Args:
        run: A finished run directory.
        overrides: Dotted keys and values; other data, say.

    Raises:
        UserError: The run is not finished or has several students, or settings are wrong.
    """
    directory = RunDirectory(run)
    chosen = directory.read_config()
    # The batches that it was trained on, which the student alone may not ask for: it resizes them itself.
    data = {**chosen["data"], "size": read_result(directory)["inputs"]["batch"][-1]}
    # The finished student replaces the architecture it grew from.
    base = [("data", data), ("student", str(directory.student)), ("device", chosen["device"])]
    return resolve("train", [], [*base, *overrides])


def read_result(directory: RunDirectory) -> Record:
    """The outcome of a finished run of one student.

    Raises:
        UserError: The run is not finished, or has several students.
    """
    directory.read_config()
    result = directory.read_result()
    if "students" in result:
        raise UserError(f"'{directory.path}' holds several students: name one, as in {result['directories'][0]}")
    return result


def has_own_data(overrides: Overrides) -> bool:
    """Whether a run is evaluated on its own splits, so that the result belongs into its directory."""
    return all(key == "device" for key, _ in overrides)


def evaluate_model(run: str | Path | None, overrides: Overrides = (), *, say: Say = lambda line: None) -> Record:
    """Measure everything on the validation and the test split; nothing is written.

    Args:
        run: A finished run directory. On its own data the logits are used that it stored, so that the data need not be
            there. None takes `model` from `overrides`.
        overrides: Dotted keys and values, as for training.
        say: Takes each line that the user should read.

    Returns:
        `name`, `data`, `classes`, `splits` (see `summarise`), `teacher` (the same of the teacher, None without one) and
        `cost`.

    Raises:
        UserError: The run is not finished, or settings are wrong.
    """
    if run is None:
        return _any_model(overrides, say)
    directory = RunDirectory(run)
    result = read_result(directory)
    if has_own_data(overrides):
        return _own_data(directory, result, overrides, say)
    made = assemble(settings_of_run(run, overrides))
    teacher = _teacher(directory, made, result, {}, say) if result["teacher"] else None
    return _record(directory.path.name, made.data.name, made.data.classes, _asked(made, directory), teacher, say)


def ensure_evaluation(run: str | Path, overrides: Overrides = (), *, say: Say = lambda line: None) -> Record:
    """What `evaluation.json` of a finished run holds; made if it is not there or older than the result.

    Args:
        run: A finished run directory.
        overrides: `device`, where the run's is not there.
        say: Takes each line that the user should read.

    Raises:
        UserError: The run is not finished, or has several students.
    """
    directory = RunDirectory(run)
    read_result(directory)
    path = directory.evaluation
    if path.exists() and path.stat().st_mtime_ns >= directory.result.stat().st_mtime_ns:
        return json.loads(path.read_text(encoding="utf-8"))
    record = evaluate_model(run, overrides, say=say)
    write_json(path, record)
    return record


def _any_model(overrides: Overrides, say: Say) -> Record:
    settings = resolve("train", [], overrides)
    chosen = settings.student
    if not (chosen["pretrained"] or chosen["weights"] or is_saved(chosen["name"])):
        raise UserError(f"'{chosen['name']}' is untrained: name a run, or set model.weights or model.pretrained")
    made = assemble(settings)
    name = str(chosen["name"])
    return _record(name, made.data.name, made.data.classes, _asked(made, name), None, say)


def _own_data(directory: RunDirectory, result: Record, overrides: Overrides, say: Say) -> Record:
    # A student of a cohort has no provenance of its own.
    data = directory.read_provenance().get("data", directory.read_config()["data"])["name"]
    student = Measured(
        result["student"],
        {split: Predictions.load(directory.logits(split)) for split in SPLITS},
        _student_cost(directory, result, dict(overrides).get("device"), say),
    )
    teacher = _stored_teacher(directory, result, student.predictions, overrides, say) if result["teacher"] else None
    return _record(directory.path.name, data, read_header(directory.student).classes, student, teacher, say)


def _student_cost(directory: RunDirectory, result: Record, device: str | None, say: Say) -> Record:
    chosen = choose_device(device or directory.read_config()["device"])
    try:
        model = load_model(directory.student).to(chosen)
    except UserError as error:
        say(f"the student's cost is that of its training: {error}")
        return known_cost(result["cost"], file_bytes=directory.student.stat().st_size)
    shape = (1, *result["inputs"]["batch"])
    image = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(chosen)
    return cost_record(model, image, file_bytes=directory.student.stat().st_size)


def _stored_teacher(
    directory: RunDirectory, result: Record, student: Mapping[str, Predictions], overrides: Overrides, say: Say
) -> Measured | None:
    """The teacher by what the run stored of it, and by what can be measured again."""
    paths = {split: directory.teacher_logits(split) for split in SPLITS}
    stored = {split: Predictions.load(path) for split, path in paths.items() if path.exists()}
    try:
        made = assemble(settings_of_run(directory.path, overrides))
    except (UserError, OSError) as error:
        say(f"the teacher's cost is that of the training: {error}")
        name, cost = result["teacher"]["name"], known_cost(result["teacher"]["cost"])
        return Measured(name, stored, cost) if len(stored) == len(SPLITS) else None
    found = _teacher(directory, made, result, stored, say)
    if found is None or any(not torch.equal(found.predictions[s].labels, student[s].labels) for s in SPLITS):
        return None
    for split in SPLITS:
        if split not in stored:
            found.predictions[split].save(paths[split])
    return found


def _teacher(
    directory: RunDirectory, made: Assembly, result: Record, stored: Mapping[str, Predictions], say: Say
) -> Measured | None:
    """The teacher of a run, built again if that can be.

    Args:
        directory: The run.
        made: The data it is asked about.
        result: The outcome of the run.
        stored: What it is known to say, by split; all there is to know where it cannot be built.
        say: Takes each line that the user should read.
    """
    name = result["teacher"]["name"]
    complete = all(split in stored for split in _splits(made))
    try:
        model = build_again(directory, made, result["teacher"].get("temperatures", []))
    except (UserError, OSError) as error:
        effect = "its cost is that of the training" if complete else "nothing is compared with it"
        say(f"the teacher '{name}' cannot be built again, {effect}: {error}")
        return Measured(name, stored, known_cost(result["teacher"]["cost"])) if complete else None
    names = teacher_names(directory.read_config()["teacher"])
    predictions = stored if complete else _predictions(made, model)
    return Measured(name, predictions, cost_record(model, made.example(), file_bytes=saved_bytes(names)))


def _asked(made: Assembly, source: RunDirectory | str) -> Measured:
    model = made.student.to(made.device)
    name = str(source.student) if isinstance(source, RunDirectory) else source
    cost = cost_record(model, made.example(), file_bytes=saved_bytes([name]))
    return Measured(model.name, _predictions(made, model), cost)


def _predictions(made: Assembly, model: nn.Module) -> dict[str, Predictions]:
    return {split: made.predictions(model, split) for split in _splits(made)}


def _splits(made: Assembly) -> list[str]:
    return [split for split in SPLITS if len(made.split(split))]


def _record(
    name: str, data: str, classes: Sequence[str], student: Measured, teacher: Measured | None, say: Say
) -> Record:
    taught = None
    if teacher is not None:
        splits = _summaries(classes, teacher.predictions, {}, say)
        taught = {"name": teacher.name, "splits": splits, "cost": teacher.cost}
    return {
        "name": name,
        "data": data,
        "classes": list(classes),
        "splits": _summaries(classes, student.predictions, teacher.predictions if teacher else {}, say),
        "teacher": taught,
        "cost": student.cost,
    }


def _summaries(
    classes: Sequence[str], predictions: Mapping[str, Predictions], taught: Mapping[str, Predictions], say: Say
) -> dict[str, Record]:
    temperature = fit_temperature(predictions["val"]) if "val" in predictions else None
    found: dict[str, Record] = {}
    for split, said in predictions.items():
        if said.logits.numel() > LARGE:
            say(f"measuring {len(said.labels):,} {split} images of {len(classes):,} classes: about a minute")
        found[split] = summarise(said, classes, temperature=temperature, teacher=taught.get(split))
    return found
