"""Distillation in one Python call."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn

from understudy.data import ImageData, load_data
from understudy.experiments.assemble import Given
from understudy.experiments.provenance import weights_hash
from understudy.experiments.run import Result, run
from understudy.experiments.settings import OBJECT, resolve


def distill(
    data: str | Path | ImageData | tuple[Any, Any],
    teacher: str | Path | list[str] | nn.Module,
    *,
    student: str | Path | nn.Module,
    method: str | list[str] = "kd",
    out: str | Path | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Train a student with the help of a teacher; the same as `understudy distill`.

    Args:
        data: Whatever `load_data` takes: a name, a folder, or a pair of training and test `Dataset`.
        teacher: A run directory, a model name, a list of these (an ensemble), or a trained network. A bare network gets
            images normalised with the data's mean and standard deviation; a `Classifier` says for itself what it wants.
        student: A model name or a network.
        method: One method or several, by name.
        out: The run directory; by default one below `runs/` named after the settings.
        seed: Chooses the student's first weights, the order and the augmentation of the images.
        settings: More settings by dotted key, such as `{"train.epochs": 30, "method.temperature": 2}`.

    Returns:
        What `result.json` in the run directory holds.

    Raises:
        UserError: Something does not fit together; the message says what and how to mend it.
    """
    loaded = None if isinstance(data, str | Path) else load_data(data)
    named = {"data": loaded or data, "teacher": teacher, "student": student}
    names = {key: _name(value) for key, value in named.items()}
    chosen = {**names, "method": method, "seed": seed, "out": None if out is None else str(out), **(settings or {})}
    given = Given(
        data=loaded,
        # A copy: the caller's network stays as trainable as it was.
        teacher=deepcopy(teacher) if isinstance(teacher, nn.Module) else None,
        student=student if isinstance(student, nn.Module) else None,
    )
    return run(resolve("distill", [], list(chosen.items())), given=given)


def _name(value: object) -> str | list[str]:
    """What stands in the settings: an object by its content, so that another one is another run."""
    if isinstance(value, list):
        return [str(part) for part in value]
    if isinstance(value, ImageData):
        return f"{OBJECT}{value.name}-{value.fingerprint()[:12]}"
    if isinstance(value, nn.Module):
        return f"{OBJECT}{type(value).__name__}-{weights_hash(value)[:12]}"
    return str(value)
