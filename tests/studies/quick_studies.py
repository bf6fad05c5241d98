"""Small studies on the digits."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

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
