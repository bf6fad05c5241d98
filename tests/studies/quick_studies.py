"""Small studies on the digits."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from understudy.record import make_directory
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
            make_directory(planned.log.parent)
            with planned.log.open("w", encoding="utf-8") as log:
                attempt(planned, say=lambda line: print(line, file=log))
            yield planned


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
