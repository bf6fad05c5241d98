"""A table as it came out: published value, own value, difference, gain; as JSON and CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from understudy.errors import UserError
from understudy.evaluation.statistics import PairedDifference, paired_difference
from understudy.record import write_json, write_text
from understudy.reproduce.measured import Own, measure
from understudy.reproduce.plan import Cell, Group
from understudy.reproduce.table import Table

Direction = Literal["same", "opposite", "not shown"]


class Value(NamedTuple):
    """A cell of a table.

    Attributes:
        label: Its row.
        column: Its column.
        published: The value in the source.
        spread: What is printed behind ± there.
        own: The mean here; None where nothing is finished.
        std: Its standard deviation over runs.
        n: Number of values behind it.
        difference: Own minus published; None on a small scale, where it says nothing.
        published_gain: Published value minus that of the row it is compared with.
        gain: The same here, paired by seed; None with fewer than two pairs.
        low: Lower end of the 95 % interval of the gain; None where all pairs differ equally.
        high: Upper end.
        direction: Whether the gain here has the sign of the published one; `not shown` where its interval holds 0.
        agrees: Of a computed value: whether it is within its tolerance.
    """

    label: str
    column: str
    published: float
    spread: float | None = None
    own: float | None = None
    std: float | None = None
    n: int = 0
    difference: float | None = None
    published_gain: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    direction: Direction | None = None
    agrees: bool | None = None


def values_of(table: Table, group: Group, summary: Mapping[str, Any], *, small: bool) -> list[Value]:
    """The values of a group of columns, as far as its runs are finished.

    Args:
        table: The table.
        group: Some of its columns.
        summary: What the group's `study.json` holds.
        small: Whether absolute values say nothing, and rows whose runs an earlier row has are left out.
    """
    factor = 100 if table.unit == "percent" else 1
    owns = {(cell.row.label, cell.column.name): measure(group, cell, summary) for cell in group.cells}
    cells = {(cell.row.label, cell.column.name): cell for cell in group.cells}
    found: list[Value] = []
    # Small networks stand for several others, whose rows would be the same runs once more.
    first = {cell.arm: cell.row for cell in reversed(group.cells) if cell.arm}
    for place, cell in cells.items():
        if small and cell.arm and first[cell.arm] is not cell.row:
            continue
        assert cell.published is not None
        own = owns[place]
        value = Value(cell.row.label, cell.column.name, cell.published, cell.spread)
        if own is not None:
            std = None if own.std is None else own.std * factor
            difference = None if small else own.mean * factor - cell.published
            value = value._replace(own=own.mean * factor, std=std, n=own.n, difference=difference)
        over = (cell.row.against or table.baseline or "", cell.column.name)
        if cell.column.gains and over in cells and over != place:
            value = _with_gain(value, cells[over], own, owns[over], factor)
        found.append(value)
    return found


def _with_gain(value: Value, other: Cell, own: Own | None, base: Own | None, factor: float) -> Value:
    assert other.published is not None
    published = value.published - other.published
    value = value._replace(published_gain=published)
    pairs = sorted(own.by_seed.keys() & base.by_seed.keys()) if own and base else []
    if len(pairs) < 2 or own is None or base is None:
        return value
    gain = paired_difference([own.by_seed[s] * factor for s in pairs], [base.by_seed[s] * factor for s in pairs])
    return value._replace(gain=gain.mean, low=gain.low, high=gain.high, direction=_direction(published, gain))


def _direction(published: float, gain: PairedDifference) -> Direction | None:
    if not published:
        return None
    if not gain.significant:
        return "not shown"
    return "same" if (gain.mean > 0) == (published > 0) else "opposite"


def earlier_values(path: Path, about: Mapping[str, Any]) -> list[Value]:
    """The values that earlier commands left in a directory, of other rows and columns, say.

    Args:
        path: The directory.
        about: What `table.json` must say besides.

    Raises:
        UserError: It says something else.
    """
    place = path / "table.json"
    if not place.exists():
        return []
    held = json.loads(place.read_text(encoding="utf-8"))
    for key, value in about.items():
        if held.get(key) != value:
            raise UserError(f"'{path}' holds a table of {key} {held.get(key)}, not {value}: choose another out=DIR")
    return [Value(**each) for each in held["values"]]


def save_values(path: Path, table: Table, values: Sequence[Value], **more: Any) -> None:
    """Write `table.json` and `table.csv`.

    Args:
        path: The directory; it exists.
        table: The table.
        values: Its values.
        more: What the JSON file says besides.
    """
    about = {"title": table.title, "source": table.source, "note": table.note, "unit": table.unit}
    write_json(path / "table.json", {**more, **about, "values": [value._asdict() for value in values]})
    text = io.StringIO()
    csv.writer(text).writerows([Value._fields, *values])
    write_text(path / "table.csv", text.getvalue())
