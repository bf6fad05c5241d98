"""A study in one Python call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.studies.resolve import resolve_study
from understudy.studies.study import run_study
from understudy.studies.summary import Summary


def study(
    data: str | Path,
    teacher: str | Path | list[str],
    *,
    student: str | Path,
    methods: str | Sequence[str | list[str] | Mapping[str, Any]] = "kd",
    seeds: int | Sequence[int] = 5,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Summary:
    """Compare methods over several seeds with plain training of equal budget, as `understudy study`.

    The same call goes on where an earlier one stopped.

    Args:
        data: A name, a folder or a file; runs are done by other processes, which cannot be given objects.
        teacher: A run directory, a model name, or a list of these (an ensemble).
        student: A model name or a file.
        methods: An arm for each: a method, a method with settings, or a list of methods that teach together.
        seeds: The seeds of each arm, or how many.
        out: The directory of the study; by default one below `runs/`.
        settings: More settings by dotted key, such as `{"train.epochs": 30, "grid": {"method.temperature": [2, 4]}}`.

    Returns:
        What `study.json` in the directory holds.

    Raises:
        UserError: Something does not fit together; the message says what and how to mend it.
    """
    named = {"data": str(data), "teacher": teacher if isinstance(teacher, list) else str(teacher)}
    several = {"methods": methods if isinstance(methods, str) else list(methods), "seeds": _plain(seeds)}
    place = {} if out is None else {"out": str(out)}
    chosen = {**named, "student": str(student), **several, **place, **(settings or {})}
    return run_study(resolve_study([], list(chosen.items())))


def _plain(seeds: int | Sequence[int]) -> int | list[int]:
    return seeds if isinstance(seeds, int) else list(seeds)
