"""What a page is made of: sections, each a column of tables, figures, pictures and texts."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

Cell = str | float | int | None


class Data(NamedTuple):
    """The numbers behind a table or a figure.

    Attributes:
        name: Of the file, without its ending.
        header: Names of the columns.
        rows: One for each line; None is an empty cell.
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def csv(self) -> str:
        """As text with commas."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.rows])
        return text.getvalue()


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Args:
        caption: What it shows, with the split.
        header: Names of the columns.
        rows: Texts, one for each column.
        data: The numbers behind it.
        series: The colour of each row in the figures, by number.
        note: What a reader must know to judge it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: Data | None = None
    series: Sequence[int] = ()
    note: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers, which stand to the right."""
        columns = zip(*self.rows, strict=True)
        return [place > 0 and all(_is_number(cell) for cell in column) for place, column in enumerate(columns)]


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Args:
        title: What it shows.
        svg: Markup.
        caption: What a reader should see in it; may be empty.
    """

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Figures:
    """Drawings that belong together.

    Args:
        panels: The drawings.
        data: The numbers behind all of them.
        legend: Names with the number of their colour.
        note: What a reader must know to judge them.
    """

    kind: ClassVar[str] = "figures"
    panels: Sequence[Panel]
    data: Data
    legend: Sequence[tuple[str, int]] = ()
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """One image with what was said about it.

    Args:
        source: A data: address.
        alt: What it is, for who cannot see it.
        lines: Pairs of a word and what belongs to it.
        tiny: Whether it has so few pixels that they should stay squares when it is enlarged.
    """

    source: str
    alt: str
    lines: Sequence[tuple[str, str]]
    tiny: bool


@dataclass(frozen=True)
class Pictures:
    """Images of one kind.

    Args:
        title: What they have in common.
        pictures: The images.
        note: How many there are in all, say.
    """

    kind: ClassVar[str] = "pictures"
    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Pairs of a word and what belongs to it."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Something to copy.

    Args:
        label: What it is.
        text: Verbatim.
        file: The name under which it can be saved; empty if it is short.
    """

    kind: ClassVar[str] = "code"
    label: str
    text: str
    file: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


Block = Table | Figures | Pictures | Facts | Code | Text


class Section(NamedTuple):
    """A part of the page with a heading.

    Attributes:
        anchor: Its name in links.
        title: Its heading.
        blocks: What it shows.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]


def _is_number(cell: str) -> bool:
    return cell[:1] in "+-[<" or cell[:1].isdigit() or len(cell) == 1


def data_of(sections: Iterable[Section]) -> list[Data]:
    """Everything that becomes a CSV file, in the order of the page."""
    blocks = (block for section in sections for block in section.blocks)
    return [block.data for block in blocks if isinstance(block, Table | Figures) and block.data is not None]
