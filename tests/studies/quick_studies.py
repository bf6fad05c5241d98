"""Small studies on the digits."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import executor_here  # noqa: F401

from understudy.record import RunDirectory
from understudy.studies.resolve import resolve_study
from understudy.studies.settings import Study

QUICK = [("data", "digits"), ("student", "cnn-xs"), ("device", "cpu"), ("train.epochs", 1)]


class Studies:
    """Makes studies of one epoch on the digits with one teacher."""

    def __init__(self, teacher: Path, out: Path) -> None:
        self.teacher = teacher
        self.out = out

    def common(self) -> list[tuple[str, Any]]:
        """What all of them are told."""
        cache = ("cache.path", str(self.out.parent / "cache"))
        return [*QUICK, ("teacher", str(self.teacher)), cache, ("executor", "here"), ("out", str(self.out))]

    def words(self) -> list[str]:
        """The same for the command line."""
        return [f"{key}={value}" for key, value in self.common()]

    def __call__(self, *overrides: tuple[str, Any], files: Sequence[Path] = ()) -> Study:
        return resolve_study(files, [*self.common(), *overrides])


def times(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def children_in(directory: RunDirectory) -> list[int]:
    """Processes that hold a file of the run's arm open, which is its log."""
    log = directory.path.with_name(f"{directory.path.name}.log").resolve()
    return [
        int(place.parts[2])
        for place in Path("/proc").glob("[0-9]*/fd/1")
        if os.access(place, os.R_OK) and place.resolve() == log
    ]
