"""Evaluate what a run left behind, or any model on any data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from understudy.errors import UserError
from understudy.evaluation.accuracy import scores
from understudy.evaluation.cost import Cost, measure_cost
from understudy.experiments.assemble import assemble
from understudy.experiments.settings import RunSettings, resolve
from understudy.models.saved import is_saved
from understudy.record import RunDirectory


class Evaluation(NamedTuple):
    """What an evaluation found.

    Attributes:
        name: What was evaluated.
        data: On which data.
        scores: Scores by split.
        images: Number of images by split.
        cost: What one image costs.
    """

    name: str
    data: str
    scores: dict[str, dict[str, float]]
    images: dict[str, int]
    cost: Cost


def settings_of_run(run: str | Path, overrides: Sequence[tuple[str, Any]]) -> RunSettings:
    """Settings under which the finished student of a run sees the data as in training.

    Args:
        run: A finished run directory.
        overrides: Dotted keys and values; other data, say.

    Raises:
        UserError: The run is not finished, or settings are wrong.
    """
    directory = RunDirectory(run)
    chosen = directory.read_config()
    # The batches that it was trained on, which the student alone may not ask for: it resizes them itself.
    data = {**chosen["data"], "size": directory.read_result()["inputs"]["batch"][-1]}
    # The finished student replaces the architecture it grew from.
    base = [("data", data), ("student", str(directory.student)), ("device", chosen["device"])]
    return resolve("train", [], [*base, *overrides])


def evaluate_model(run: str | None, overrides: Sequence[tuple[str, Any]]) -> Evaluation:
    """Evaluate on the validation and the test split.

    Args:
        run: A finished run directory; its data are used unless others are given. None takes `model` from `overrides`.
        overrides: Dotted keys and values, as for training.

    Raises:
        UserError: The run is not finished, or settings are wrong.
    """
    if run is None:
        settings = resolve("train", [], overrides)
        chosen = settings.student
        if not (chosen["pretrained"] or chosen["weights"] or is_saved(chosen["name"])):
            raise UserError(f"'{chosen['name']}' is untrained: name a run, or set model.weights or model.pretrained")
    else:
        settings = settings_of_run(run, overrides)
    made = assemble(settings)
    model = made.student.to(made.device)
    splits = [split for split in ("val", "test") if len(made.split(split))]
    found = {split: made.predictions(model, split) for split in splits}
    return Evaluation(
        name=run or str(settings.student["name"]),
        data=made.data.name,
        scores={split: scores(predictions) for split, predictions in found.items()},
        images={split: len(predictions.labels) for split, predictions in found.items()},
        cost=measure_cost(model, made.example()),
    )
