"""One run of a study: what is planned, and an attempt at it that leaves on the disk what came of it."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from understudy.engine.interrupt import Interrupted
from understudy.errors import UserError
from understudy.experiments.run import run
from understudy.experiments.settings import RunSettings
from understudy.record import RunDirectory, make_directory, write_text

Say = Callable[[str], None]


class Planned(NamedTuple):
    """One run of a study.

    Attributes:
        arm: Name of its arm.
        seed: Its seed.
        fold: Which part of the data validates, from 1; None without folds.
        settings: All its settings.
        directory: Its run directory.
        log: What it said in its last attempt.
        error: One line that says why its last attempt failed; it exists when it did.
    """

    arm: str
    seed: int
    fold: int | None
    settings: RunSettings
    directory: RunDirectory
    log: Path
    error: Path

    @property
    def name(self) -> str:
        """`kd/seed1`: what it is called on the command line."""
        return f"{self.arm}/{self.directory.path.name}"

    def fail(self, reason: str) -> None:
        """Write down why it failed."""
        make_directory(self.error.parent)
        write_text(self.error, f"{' '.join(reason.split())}\n")


def attempt(planned: Planned, *, say: Say = print) -> bool:
    """Do a run in this process, or go on with it; the outcome is in its directory, or the reason in its error file.

    Whatever goes wrong is caught: one run that fails must not stop the others. Any process that sees the same disk may
    do it, on this machine or another.

    Args:
        planned: The run.
        say: Takes each line that it has to say.

    Returns:
        Whether it is finished.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; another attempt goes on.
    """
    planned.error.unlink(missing_ok=True)
    try:
        run(planned.settings, say=say)
    except Interrupted:
        raise
    except UserError as error:
        planned.fail(str(error))
        say(f"error: {error}")
    except Exception as error:
        planned.fail(f"{type(error).__name__}: {error}")
        say(traceback.format_exc())
    return planned.directory.finished()
