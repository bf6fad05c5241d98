"""What every executor is: planned runs -> finished runs, in any order, anywhere that sees the same disk."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from understudy.registry import Registry
from understudy.studies.planned import Planned, Say
from understudy.study_record import StudyDirectory


class Executor(Protocol):
    """Does the runs of a study; its settings are the keyword arguments of its constructor.

    What came out of a run is in its directory, or in its error file: `understudy.studies.planned.attempt` leaves it
    there, whichever process calls it.
    """

    def run(self, runs: Sequence[Planned], study: StudyDirectory, *, say: Say) -> Generator[Planned]:
        """Do runs, or arrange for them to be done. When it is closed, those under way save themselves and stop.

        Args:
            runs: Those that are not finished; `study.yaml` is written.
            study: The directory of the study, locked.
            say: Takes each line that the user should read.

        Yields:
            Each run when it has ended, finished or failed; none of those that are left to others.
        """
        ...


EXECUTORS: Registry[Callable[..., Executor]] = Registry("executor", "understudy.studies.executors")
"""What there is to do the runs of a study with; the settings of each are its keyword arguments."""
