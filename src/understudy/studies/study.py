"""Do the runs of a study that are missing, and keep the account of all."""

import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from understudy.engine.interrupt import Interrupted
from understudy.errors import UserError
from understudy.experiments.settings import names_place, teacher_names
from understudy.models.saved import is_saved, read_header
from understudy.studies.parts import make_executor
from understudy.studies.planned import Planned, Say
from understudy.studies.records import Records
from understudy.studies.settings import Study
from understudy.studies.summary import Summary, place, save_summary


def run_study(study: Study, *, say: Say = print) -> Summary:
    """Do all runs that are not finished; the same call goes on where an earlier one stopped.

    Seeds and arms may have been added since. Runs that failed are tried again.

    Args:
        study: See `understudy.studies.resolve.resolve_study`.
        say: Takes each line that the user should read.

    Returns:
        What `study.json` holds.

    Raises:
        UserError: The directory holds something else or runs with other settings, or there is no such teacher.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    study.directory.check()
    runs = study.runs()
    for planned in runs:
        planned.directory.check(planned.settings.tree())
    missing = [planned for planned in runs if not planned.directory.finished()]
    check_teachers(missing)
    with study.directory.locked():
        study.directory.write_config(study.tree())
        records = Records(runs)
        _say_left_out(study, runs, say)
        if missing:
            say(f"{study.directory.path}: {len(missing)} of {len(runs)} runs to do")
            _do(study, missing, records, say)
        return save_summary(study, records)


def _say_left_out(study: Study, runs: Sequence[Planned], say: Say) -> None:
    """Finished runs of earlier arms and seeds that this study is no longer about."""
    places = {planned.directory.path for planned in runs}
    others = sorted(place for place in study.directory.finished_runs() if place not in places)
    if others:
        arms = ", ".join(dict.fromkeys(place.parent.name for place in others))
        say(
            f"warning: {study.directory.path} holds {len(others)} finished runs that are no longer part of the study, "
            f"of {arms}: name their arms and seeds as well to have them in it"
        )


def check_teachers(runs: Sequence[Planned]) -> None:
    """Find out before anything is written whether teachers that have a place are there.

    Raises:
        UserError: One is not.
    """
    chosen = [planned.settings.teacher for planned in runs if planned.settings.teacher]
    for name in dict.fromkeys(name for teacher in chosen for name in teacher_names(teacher)):
        if is_saved(name):
            read_header(name)
        elif names_place(name) and not Path(name).exists():
            raise UserError(f"no such teacher '{name}': check the path, or train it with understudy train out={name}")


def _do(study: Study, missing: Sequence[Planned], records: Records, say: Say) -> None:
    executor = make_executor(study.executor)
    began = time.monotonic()
    with stoppable(say), closing(executor.run(missing, study.directory, say=say)) as ended:
        for count, planned in enumerate(ended, 1):
            save_summary(study, records)
            left = (time.monotonic() - began) / count * (len(missing) - count)
            say(f"{count} of {len(missing)}: {_outcome(planned)}" + (f"; {_duration(left)} left" if left else ""))


@contextmanager
def stoppable(say: Say) -> Generator[None]:
    """SIGTERM is as Ctrl-C, and both are no error."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; the runs under way have saved themselves: the same command goes on from there")
        raise Interrupted from None
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _outcome(planned: Planned) -> str:
    name = f"{planned.arm} {place(planned.seed, planned.fold)}"
    if planned.directory.finished():
        return f"{name}: {planned.directory.read_result()['test']['accuracy']:.2%} on the test split"
    return f"{name} failed: {planned.error.read_text(encoding='utf-8').strip()}"


def _duration(seconds: float) -> str:
    """For people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
