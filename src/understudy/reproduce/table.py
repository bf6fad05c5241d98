"""A published table as its file in `tables/` says it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from understudy.config import Settings, validated
from understudy.errors import UserError, did_you_mean
from understudy.yaml_file import read_yaml

FOLDER = Path(__file__).with_name("tables")
ACCURACY = "test.accuracy"


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Numbers = Annotated[list[float | None], BeforeValidator(_as_list)]


class Column(Settings):
    """A column of a table.

    Attributes:
        name: What stands above it.
        metric: What its values are (see `understudy.reproduce.measured`).
        settings: What its runs have besides what the rows say, by dotted key.
        teacher: One of the table's teachers; None takes that of the table.
        gains: Whether its values can be compared between rows.
    """

    name: str
    metric: str = ACCURACY
    gains: bool = True
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])
    teacher: str | None = None


class Row(Settings):
    """A row of a table: runs of a recipe, or something that is computed.

    Attributes:
        label: What stands in front of it.
        published: The values in the order of the columns; null where there is none. One value may stand alone.
        spread: What is printed behind ± in the source, likewise.
        recipe: Below `configs`; `{column}` stands for the column's name. None where nothing is trained.
        settings: What its runs have besides, by dotted key.
        metric: What its values are, if not those of the columns.
        against: The row that its gain is over; None takes the table's baseline.
        source: Where its values come from, if not from the table's source.
        compute: Name of a computation (see `understudy.reproduce.computations`) in place of a recipe.
        inputs: Its settings.
        tolerance: How far the computed value may be away; half a unit of the last published digit, say.
        small: Whether the small networks can have it.
    """

    label: str
    published: Numbers
    spread: Numbers | None = None
    recipe: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])
    metric: str | None = None
    against: str | None = None
    source: str | None = None
    compute: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict[str, Any])
    tolerance: float | None = None
    small: bool = True


class TeacherRecipe(Settings):
    """How a teacher of a table is trained.

    Attributes:
        recipe: Below `configs`; what it says about learning from a teacher is left out.
        settings: What it has besides, by dotted key.
    """

    recipe: str
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])


class Table(Settings):
    """A published table.

    Attributes:
        title: What it shows.
        source: Where its values come from, and how they were measured there.
        note: What differs here, and what was left out.
        unit: `percent` of what is measured in 0..1, or `value`.
        seeds: How many runs of each cell, by default.
        baseline: The row that the others' gains are over; None where there are no gains.
        columns: Its columns; one without a name by default.
        teachers: The teachers that are trained for it, by name.
        teacher: The one of all columns.
        rows: Its rows.
        small: Column that `scale=small` stands for; false where the table says nothing on a small scale.
    """

    title: str
    source: str
    note: str = ""
    unit: Literal["percent", "value"] = "percent"
    seeds: int = Field(default=5, ge=1)
    baseline: str | None = None
    columns: list[Column] = Field(default_factory=lambda: [Column(name="")])
    teachers: dict[str, TeacherRecipe] = Field(default_factory=dict[str, TeacherRecipe])
    teacher: str | None = None
    rows: list[Row]
    small: str | Literal[False] = ""

    @property
    def computed(self) -> bool:
        """Whether nothing is trained for it."""
        return all(row.compute for row in self.rows)

    def row(self, label: str) -> Row:
        """The row of that label."""
        return next(row for row in self.rows if row.label == label)


def table_names() -> list[str]:
    """The tables that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_table(name: str) -> Table:
    """A table by its name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in table_names():
        raise UserError(f"there is no table '{name}': {did_you_mean(name, table_names())}")
    return validated(Table, read_yaml(FOLDER / f"{name}.yaml"), name)
