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
    """Each refusal is an error; of a run that is finished, a note: it could not be made again as it stands."""
    settings = case.settings
    assert settings.out is not None
    directory = RunDirectory(settings.out)
    refusals = list(case.refusals)
    refusals += _refusals(lambda: directory.check(settings.tree()))
    refusals += _refusals(lambda: check_loggers(settings.loggers))
    yield from (note(line) if directory.finished() else error(line) for line in refusals)
    if not refusals:
        yield ok("data, models and methods fit together")


def _refusals(check: Callable[[], None]) -> list[str]:
    try:
        check()
    except UserError as refusal:
        return [str(refusal)]
    return []
