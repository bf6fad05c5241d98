"""From a table to the runs that make it: a study for the columns that share their runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from understudy.config import Tree, layered
from understudy.errors import UserError, did_you_mean
from understudy.experiments.recipe_files import recipe_file
from understudy.experiments.settings import SHAPE, RunSettings, is_of_teaching, resolve
from understudy.methods.base import METHODS
from understudy.reproduce.small import small_student, small_teacher
from understudy.reproduce.table import Column, Row, Table
from understudy.studies.arms import directory_name
from understudy.studies.resolve import resolve_study
from understudy.studies.settings import NONE, Study
from understudy.yaml_file import read_yaml

Pairs = Sequence[tuple[str, Any]]
FEWEST_SMALL = 3
# What may be set for all runs of a table; anything else would make another table of it.
COMMON = ("data", "train", "device", "cache", "loggers")


class Chosen(NamedTuple):
    """How a table is made.

    Attributes:
        out: Where everything goes.
        scale: `full` as published; `small` on the digits.
        seeds: Runs of each cell; None takes the table's number.
        columns: Names of the columns; none is all, on the small scale the one that stands for all.
        rows: Labels of the rows; none is all.
        teachers: Run directories of teachers that are trained already, by the table's name for them.
        executor: What does the runs: `executor` and settings of it, by dotted key.
        overrides: Settings of all runs by dotted key.
    """

    out: Path
    scale: Literal["full", "small"] = "full"
    seeds: int | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    teachers: Mapping[str, str] = MappingProxyType({})
    executor: Pairs = ()
    overrides: Pairs = ()


class Cell(NamedTuple):
    """A value of a table.

    Attributes:
        row: Its row.
        column: Its column.
        published: The value in the source; None where only the run is needed.
        spread: What is printed behind ± there.
        arm: The arm whose runs are measured; None where it is the teacher.
        metric: What is measured.
    """

    row: Row
    column: Column
    published: float | None
    spread: float | None
    arm: str | None
    metric: str


class Group(NamedTuple):
    """Columns that are made by the same runs.

    Attributes:
        study: The runs.
        teacher: The run of their teacher; None where it is trained already, or there is none.
        cells: The values that come from them.
    """

    study: Study
    teacher: RunSettings | None
    cells: tuple[Cell, ...]


def plan(table: Table, chosen: Chosen) -> list[Group]:
    """The studies that make a table.

    Args:
        table: One that is not computed.
        chosen: See `Chosen`.

    Raises:
        UserError: There is no such row, column or teacher, or a setting is wrong.
    """
    _check(table, chosen)
    _check_settings(table, chosen)
    groups: list[list[Column]] = []
    for column in _columns(table, chosen):
        same = [group for group in groups if (group[0].settings, group[0].teacher) == (column.settings, column.teacher)]
        if same:
            same[0].append(column)
        else:
            groups.append([column])
    return [_group(table, chosen, columns) for columns in groups]


def _check(table: Table, chosen: Chosen) -> None:
    known = {"columns": [column.name for column in table.columns], "rows": [row.label for row in table.rows]}
    for kind, names in known.items():
        for name in getattr(chosen, kind):
            if name not in names:
                raise UserError(f"the table has no {kind} '{name}': {did_you_mean(name, names)}")
    if chosen.scale == "small" and table.small is False:
        raise UserError("this table has no small version: its rows differ in networks and data alone")


def _check_settings(table: Table, chosen: Chosen) -> None:
    for name in chosen.teachers:
        if name not in table.teachers:
            raise UserError(f"the table trains no teacher '{name}': {did_you_mean(name, table.teachers)}")
    for key, value in chosen.overrides:
        if key.partition(".")[0] not in COMMON:
            raise UserError(f"{key}={value} would make another table: set only {', '.join(COMMON)}")


def _columns(table: Table, chosen: Chosen) -> list[Column]:
    if chosen.columns:
        return [column for column in table.columns if column.name in chosen.columns]
    if chosen.scale == "small" and table.small:
        return [column for column in table.columns if column.name == table.small]
    return table.columns


def _group(table: Table, chosen: Chosen, columns: Sequence[Column]) -> Group:
    place = chosen.out / (directory_name(columns[0].name) if columns[0].settings else "runs")
    path, teacher = _teacher(table, chosen, columns[0].teacher or table.teacher)
    arms: dict[str, Tree] = {}
    cells: list[Cell] = []
    for row in _rows(table, chosen):
        values = [(column, _at(table, row.published, column)) for column in columns]
        if row.recipe is None or all(value is None for _, value in values):
            arm = None
        else:
            arm = _add(arms, directory_name(row.label), _tree(row, columns[0], path, chosen))
        spreads = [_at(table, row.spread, column) for column in columns]
        cells += [
            Cell(row, column, value, spread, arm, row.metric or column.metric)
            for (column, value), spread in zip(values, spreads, strict=True)
            if value is not None
        ]
    settings = [("arms", arms), ("seeds", _seeds(table, chosen)), ("baseline", NONE), ("out", str(place))]
    taught = any("teacher" in tree for tree in arms.values())
    study = resolve_study([], [*settings, *chosen.executor])
    return Group(study, teacher if taught else None, tuple(cells))


def _seeds(table: Table, chosen: Chosen) -> int:
    if chosen.seeds is not None:
        return chosen.seeds
    # One run each, as of ImageNet, could not tell a sign from chance.
    return max(table.seeds, FEWEST_SMALL) if chosen.scale == "small" else table.seeds


def _rows(table: Table, chosen: Chosen) -> list[Row]:
    """Those that were asked for, and those that their gains are over."""
    wanted = set(chosen.rows or [row.label for row in table.rows])
    over = {table.row(label).against or table.baseline for label in wanted}
    rows = [row for row in table.rows if row.label in wanted | over]
    return [row for row in rows if row.small or chosen.scale == "full"]


def _at(table: Table, values: Sequence[float | None] | None, column: Column) -> float | None:
    return None if values is None else values[table.columns.index(column)]


def _add(arms: dict[str, Tree], name: str, tree: Tree) -> str:
    """The arm with these settings, which may be that of another row: on a small scale networks stand for others."""
    same = [other for other, settings in arms.items() if settings == tree]
    if not same:
        arms[name] = tree
    return same[0] if same else name


def _tree(row: Row, column: Column, teacher: str | None, chosen: Chosen) -> Tree:
    assert row.recipe is not None
    recipe = read_yaml(recipe_file(row.recipe.format(column=directory_name(column.name))))
    pairs = [*column.settings.items(), *row.settings.items()]
    tree = layered({"method": []}, [{key: value for key, value in recipe.items() if key != "out"}], pairs, SHAPE)
    own_teacher = tree.pop("teacher", None)
    if chosen.scale == "small":
        tree = small_student(tree)
    if any(METHODS.get(str(method["name"])).needs_teacher for method in tree["method"]):
        tree["teacher"] = {"name": teacher} if teacher else own_teacher
    return layered(tree, [], chosen.overrides, SHAPE)


def _teacher(table: Table, chosen: Chosen, name: str | None) -> tuple[str | None, RunSettings | None]:
    """Where the teacher is that is trained for a table, and how, if it is not there yet."""
    if name is not None and name in chosen.teachers:
        return chosen.teachers[name], None
    if chosen.scale == "small":
        # Published weights are of no use for the digits.
        tree = small_teacher()
    elif name is None:
        return None, None
    else:
        made = table.teachers[name]
        tree = layered({}, [read_yaml(recipe_file(made.recipe))], made.settings.items(), SHAPE)
    place = str(chosen.out / "teachers" / directory_name(name or str(tree["student"]["name"])))
    # A cache of a teacher's answers is nothing that it is trained with.
    overrides = [(key, value) for key, value in chosen.overrides if not is_of_teaching(key)]
    return place, resolve("train", [tree], [*overrides, ("out", place)])
