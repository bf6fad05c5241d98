"""What a run would refuse: data, models and methods that do not fit together, an output directory that is taken."""

from collections.abc import Callable, Iterator

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, note, ok
from understudy.doctor.probe import PROBES
from understudy.engine.loggers import check_loggers
from understudy.errors import UserError
from understudy.record import RunDirectory


@PROBES.register("setup")
def setup(case: Case) -> Iterator[Finding]:
    """Each refusal is an error; of a finished run as it stands a note: it could not be made again.

    Where other settings are tried on it, that its directory is taken is a note all the same.
    """
    settings = case.settings
    assert settings.out is not None
    directory = RunDirectory(settings.out)
    taken = _refusals(lambda: directory.check(settings.tree()))
    refusals = [*case.refusals, *_refusals(lambda: check_loggers(settings.loggers))]
    finished = directory.finished()
    yield from (note(line) if finished else error(line) for line in taken)
    yield from (note(line) if finished and not taken else error(line) for line in refusals)
    if not taken and not refusals:
        yield ok("data, models and methods fit together")


def _refusals(check: Callable[[], None]) -> list[str]:
    try:
        check()
    except UserError as refusal:
        return [str(refusal)]
    return []
