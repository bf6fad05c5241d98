"""Make a published table: compute it, or train what it needs, or say what is missing."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from understudy.config import complete
from understudy.errors import UserError
from understudy.experiments.run import run
from understudy.record import make_directory
from understudy.reproduce.computations import COMPUTATIONS
from understudy.reproduce.needs import missing
from understudy.reproduce.outcome import Value, earlier_values, save_values, values_of
from understudy.reproduce.plan import Chosen, Group, plan
from understudy.reproduce.table import Row, Table
from understudy.studies.study import run_study
from understudy.studies.summary import failed_lines

Say = Callable[[str], None]


class Outcome(NamedTuple):
    """What came out.

    Attributes:
        values: The cells of the table, those of earlier commands in the same directory among them.
        failed: Runs that failed, a line each.
    """

    values: list[Value]
    failed: list[str]


def reproduce(name: str, table: Table, chosen: Chosen, *, download: bool = False, say: Say = print) -> Outcome:
    """Make a table and write it below `chosen.out`; the same call goes on where an earlier one stopped.

    Args:
        name: What the table is called.
        table: See `read_table`.
        chosen: How it is made.
        download: Let data sets and weights be fetched instead of asking for them.
        say: Takes each line that the user should read.

    Raises:
        UserError: Data or weights are missing, with where each belongs; nothing is written then. Or a setting is wrong,
            or the directory holds another table or one with other settings.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    if table.computed:
        values = [compute(row) for row in table.rows]
        make_directory(chosen.out)
        save_values(chosen.out, table, values, name=name)
        return Outcome(values, [])
    groups = plan(table, chosen)
    settings = {key: value for key, value in chosen.overrides if key != "loggers"}
    about = {"name": name, "scale": chosen.scale, "settings": settings}
    values = {(value.label, value.column): value for value in earlier_values(chosen.out, about)}
    if not download:
        _check_present(name, table, groups)
    failed: list[str] = []
    for group in groups:
        if group.teacher is not None:
            run(group.teacher, say=say)
        summary = run_study(group.study, say=say)
        made = values_of(table, group, summary, small=chosen.scale == "small")
        values |= {(value.label, value.column): value for value in made}
        failed += failed_lines(summary)
        # After each group: a table of days is read long before it is complete.
        more = {"seeds": len(group.study.seeds), "teachers": dict(chosen.teachers)}
        save_values(chosen.out, table, list(values.values()), **about, **more)
    return Outcome(list(values.values()), failed)


def compute(row: Row) -> Value:
    """The value of a row that needs no training.

    Raises:
        UserError: There is no such computation, or a setting of it is wrong.
    """
    assert row.compute is not None
    function = COMPUTATIONS.get(row.compute)
    own = float(function(**complete(function, row.inputs, row.compute)))
    published = row.published[0]
    assert published is not None
    agrees = abs(own - published) <= (row.tolerance or 0)
    return Value(row.label, "", published, own=own, n=1, difference=own - published, agrees=agrees)


def _check_present(name: str, table: Table, groups: Sequence[Group]) -> None:
    lines = missing(groups)
    if not lines:
        return
    small = (
        "" if table.small is False else f", or try the protocol on the digits: understudy reproduce {name} scale=small"
    )
    raise UserError(f"{'; '.join(lines)}; then repeat the command{small}")
