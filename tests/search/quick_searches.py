"""Small searches on the digits."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from understudy.search.settings import Search, resolve_search
from understudy.studies.executors import EXECUTORS
from understudy.studies.planned import Planned, Say, attempt
from understudy.study_record import StudyDirectory

SPACE = {"method.temperature": [1, 20, "log"], "label.weight": [0, 1], "train.optimizer.lr": [1e-4, 1e-1, "log"]}


@EXECUTORS.register("one-process")
class OneProcess:
    """One run after the other in this process.

    Args:
        stop_after: Ctrl-C comes after so many runs, in the middle of a round.
    """

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.left = stop_after

    def run(self, runs: Sequence[Planned], study: StudyDirectory, *, say: Say) -> Generator[Planned]:
        for planned in runs:
            if self.left == 0:
                raise KeyboardInterrupt
            attempt(planned, say=lambda line: None)
            self.left = None if self.left is None else self.left - 1
            yield planned


class Searches:
    """Makes searches with runs of one epoch on the digits with one teacher."""

    def __init__(self, teacher: Path, out: Path) -> None:
        self.teacher = teacher
        self.out = out

    def __call__(self, *overrides: tuple[str, Any], files: Sequence[Path] = ()) -> Search:
        common = [("data", "digits"), ("student", "cnn-xs"), ("device", "cpu"), ("train.epochs", 1)]
        where = [("teacher", str(self.teacher)), ("cache", "off"), ("executor", "one-process"), ("out", str(self.out))]
        return resolve_search(files, [*common, *where, ("method", "kd"), *overrides])
