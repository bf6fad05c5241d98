"""Small studies on the digits."""

import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from understudy.record import RunDirectory
from understudy.studies.executors import EXECUTORS
from understudy.studies.planned import Planned, Say, attempt
from understudy.studies.resolve import resolve_study
from understudy.studies.settings import Study
from understudy.study_record import StudyDirectory

QUICK = [("data", "digits"), ("student", "cnn-xs"), ("device", "cpu"), ("train.epochs", 1)]


@EXECUTORS.register("here")
class Here:
    """One run after the other in this process."""

    def run(self, runs: Sequence[Planned], study: StudyDirectory, *, say: Say) -> Generator[Planned]:
        for planned in runs:
            attempt(planned, say=lambda line: None)
            yield planned


class Studies:
    """Makes studies of one epoch on the digits with one teacher."""

    def __init__(self, teacher: Path, out: Path) -> None:
        self.teacher = teacher
        self.out = out

    def __call__(self, *overrides: tuple[str, Any], files: Sequence[Path] = (), executor: str = "here") -> Study:
        common = [*QUICK, ("teacher", str(self.teacher)), ("cache.path", str(self.out.parent / "cache"))]
        return resolve_study(files, [*common, ("executor", executor), ("out", str(self.out)), *overrides])


def times(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def holder(directory: RunDirectory, *, but: int = 0) -> int:
    """The process that trains a run, once it has a checkpoint."""
    for _ in range(2000):
        found = [pid for pid in children_in(directory) if pid != but]
        if found and directory.last.exists():
            return found[0]
        time.sleep(0.01)
    raise AssertionError(f"nobody trains {directory.path}")


def children_in(directory: RunDirectory) -> list[int]:
    """Processes that hold a file of the run's arm open, which is its log."""
    log = directory.path.with_name(f"{directory.path.name}.log").resolve()
    return [
        int(place.parts[2])
        for place in Path("/proc").glob("[0-9]*/fd/1")
        if os.access(place, os.R_OK) and place.resolve() == log
    ]
