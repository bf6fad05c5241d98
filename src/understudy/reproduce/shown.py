"""Published tables for a terminal."""

from collections.abc import Sequence

from rich.table import Table as RichTable

from understudy.reproduce.outcome import Value
from understudy.reproduce.table import Table, read_table, table_names


def list_table() -> RichTable:
    """All tables with what they need."""
    shown = _table("table", "what it shows", "rows", "made by")
    for name in table_names():
        table = read_table(name)
        shown.add_row(name, table.title, str(len(table.rows)), "computing" if table.computed else "training")
    shown.caption = "understudy reproduce TABLE makes one; scale=small makes it on the digits, in minutes"
    return shown


def values_table(table: Table, values: Sequence[Value]) -> RichTable:
    """Published value, own value, difference, and whether gains have the same sign."""
    places = 2 if table.unit == "percent" else 4
    gains = any(value.published_gain is not None for value in values)
    several = len({value.column for value in values}) > 1
    columns = ["published", "own", "n", "difference"]
    shown = _table("", *columns, *(("published gain", "own gain, 95 % interval", "sign") if gains else ()))
    for value in values:
        label = f"{value.label} · {value.column}" if several else value.label
        cells = [
            _spread(value.published, value.spread, places),
            _spread(value.own, value.std, places),
            str(value.n or ""),
            _difference(value, places),
        ]
        shown.add_row(label, *cells, *(_gain(value, places) if gains else ()))
    shown.title = table.title
    shown.caption = f"in {table.unit}; {table.source}" + (f"\n{table.note}" if table.note else "")
    return shown


def _difference(value: Value, places: int) -> str:
    if value.difference is None:
        return ""
    if value.agrees is None:
        return f"{value.difference:+.{places}f}"
    # Of computed values it is a matter of rounding.
    return f"{value.difference:+.1g}" if value.agrees else f"{value.difference:+.1g} (differs)"


def _spread(mean: float | None, spread: float | None, places: int) -> str:
    if mean is None:
        return ""
    text = f"{mean:,.0f}" if mean == int(mean) and abs(mean) >= 1000 else f"{mean:.{places}f}"
    return text if spread is None else f"{text} ± {spread:.{places}f}"


def _gain(value: Value, places: int) -> list[str]:
    published = "" if value.published_gain is None else f"{value.published_gain:+.{places}f}"
    own = "" if value.gain is None else f"{value.gain:+.{places}f}"
    interval = "" if value.low is None else f" ({value.low:+.{places}f} to {value.high:+.{places}f})"
    return [published, f"{own}{interval}", value.direction or ""]


def _table(*columns: str) -> RichTable:
    table = RichTable(caption_justify="left", title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table
