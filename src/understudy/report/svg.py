"""Drawings of matplotlib that follow the page they stand in: its fonts, and its colours in light and in dark.

matplotlib writes each colour as six hexadecimal digits. Those of `COLORS` are never seen: each stands for a CSS
variable, which takes its place in the markup.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from markupsafe import escape

from understudy.report.blocks import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_SERIES = 8
VARIABLES = ("ink", "muted", "rule", "surface", *(f"s{number}" for number in range(NUM_SERIES)))
COLORS = {name: f"#0100{number:02x}" for number, name in enumerate(VARIABLES)}
LINES = ("-", "--", "-", "-.", ":", "--", "-", "-.")
# With their outlines, for the key beside a name.
MARKERS = {
    "D": "M11 1 15 5 11 9 7 5Z",
    "o": "M7.5 5a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0Z",
    "s": "M8 2h6v6H8Z",
    "^": "M11 1 15 8.5H7Z",
    "v": "M11 9 7 1.5h8Z",
    "P": "M9.7 1h2.6v2.7H15v2.6h-2.7V9H9.7V6.3H7V3.7h2.7Z",
    "X": "M8.2 1 11 3.6 13.8 1 15 2.2 12.4 5 15 7.8 13.8 9 11 6.4 8.2 9 7 7.8 9.6 5 7 2.2Z",
    "*": "M11 .5 12.2 3.6 15.3 3.7 12.9 5.7 13.7 8.8 11 7.1 8.3 8.8 9.1 5.7 6.7 3.7 9.8 3.6Z",
}

# At this size text stays readable where a phone shows the drawing as wide as its screen.
SIZE = (4.5, 3.0)
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    # The same numbers make the same page.
    "svg.hashsalt": "understudy",
    # Names of classes and arms may hold a dollar sign.
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.7,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.edgecolor": COLORS["rule"],
    "grid.color": COLORS["rule"],
    "text.color": COLORS["ink"],
    "axes.labelcolor": COLORS["muted"],
    "xtick.color": COLORS["rule"],
    "ytick.color": COLORS["rule"],
    "xtick.labelcolor": COLORS["muted"],
    "ytick.labelcolor": COLORS["muted"],
}


def series_color(number: int) -> str:
    """What to hand to matplotlib for a series."""
    return COLORS[f"s{number % NUM_SERIES}"]


def series_shape(number: int) -> int:
    """Which marker and line a series has: where colours begin again, each goes with others, so that 56 are unlike."""
    return (number + number // NUM_SERIES) % NUM_SERIES


def series_marker(number: int) -> str:
    """What to hand to matplotlib for the marker of a series."""
    return list(MARKERS)[series_shape(number)]


def series_line(number: int) -> str:
    """What to hand to matplotlib for the line of a series."""
    return LINES[series_shape(number)]


def series_path(number: int) -> str:
    """The marker of a series as an SVG path around (11, 5)."""
    return list(MARKERS.values())[series_shape(number)]


def draw(
    name: str,
    paint: Callable[["Axes"], None],
    *,
    title: str,
    description: str,
    caption: str = "",
    size: tuple[float, float] = SIZE,
) -> Panel:
    """A drawing as markup.

    Args:
        name: Unique on the page.
        paint: Draws into the axes it is given, in `COLORS` only.
        title: Stands above the drawing.
        description: The drawing in words, for who cannot see it.
        caption: Stands below the drawing.
        size: Width and height in inches.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(cast("Any", STYLE)):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return Panel(title, _inline(content.getvalue(), name, title, description), caption)


def _inline(svg: str, name: str, title: str, description: str) -> str:
    """Markup that may stand in a page beside others: no style sheet, unique ids, colours and fonts of the page."""
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    body = svg[svg.index("<g ") : svg.rindex("</svg>")]
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]+"', "", body)
    body = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = re.sub(r"#0100([0-9a-f]{2})", lambda found: f"var(--{VARIABLES[int(found[1], 16)]})", body)
    body = re.sub(r'(?<==")[^"]*', _round, body)
    head = (
        f'<svg viewBox="{box[1]}" role="img" aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>'
    )
    return f"{head}{body.strip()}</svg>"


def _round(attribute: re.Match[str]) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", attribute[0])
