"""The executor `here`: quick, where it does not matter what does the runs."""

from collections.abc import Generator, Sequence

from understudy.record import make_directory
from understudy.studies.executors import EXECUTORS
from understudy.studies.planned import Planned, Say, attempt
from understudy.study_record import StudyDirectory


@EXECUTORS.register("here")
class Here:
    """One run after the other in this process."""

    def run(self, runs: Sequence[Planned], study: StudyDirectory, *, say: Say) -> Generator[Planned]:
        for planned in runs:
            make_directory(planned.log.parent)
            with planned.log.open("w", encoding="utf-8") as log:
                attempt(planned, say=lambda line: print(line, file=log))
            yield planned
