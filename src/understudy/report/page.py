"""One HTML file that holds everything: no network, no script."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.record import write_text
from understudy.report.arms import arms_section
from understudy.report.blocks import Data, Section, data_of
from understudy.report.calibration import calibration_section
from understudy.report.classes import classes_section
from understudy.report.curves import curves_section
from understudy.report.disagreement import Disagreement, Pixels, disagreement_section
from understudy.report.exit_curve import exits_section
from understudy.report.models import models_section
from understudy.report.origin import origin_section
from understudy.report.pareto import pareto_section
from understudy.report.subject import Subject
from understudy.report.svg import series_path, series_shape
from understudy.report.verdict import Verdict, savings

if TYPE_CHECKING:
    from jinja2 import Environment

# Longer tables are beside the page only, so that it can be sent by mail.
MAX_EMBEDDED = 100_000


def sections_of(
    subject: Subject, *, disagreements: Sequence[Disagreement], pictures: Mapping[int, Pixels] | str
) -> list[Section]:
    """What the page shows, in its order.

    Args:
        subject: What it is about.
        disagreements: Of the first run of its main member with its teacher.
        pictures: Pixels by index of the test split; or why there are none.
    """
    classes = [row["class"] for row in subject.main.first["per_class"]]
    sections = [
        arms_section(subject),
        models_section(subject),
        pareto_section(subject),
        curves_section(subject),
        calibration_section(subject),
        classes_section(subject),
        disagreement_section(subject, disagreements, classes=classes, pictures=pictures),
        exits_section(subject),
        origin_section(subject),
    ]
    return [section for section in sections if section is not None]


def write_page(subject: Subject, verdict: Verdict, sections: Sequence[Section], path: Path) -> Path:
    """Write the page, and a CSV file for each table and figure into a folder beside it.

    Args:
        subject: What it is about.
        verdict: Whether it helped.
        sections: What it shows.
        path: An HTML file.

    Returns:
        The folder of the CSV files.
    """
    # Not the bare name, which may be that of a run.
    folder = path.with_name(path.stem if path.stem == "report" else f"{path.stem}-report")
    folder.mkdir(parents=True, exist_ok=True)
    for data in data_of(sections):
        write_text(folder / f"{data.name}.csv", data.csv())
    page = _templates().get_template("page.html.j2")
    write_text(
        path,
        page.render(
            subject=subject,
            verdict=verdict,
            savings=savings(subject),
            sections=sections,
            folder=folder.name,
        ),
    )
    return folder


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("understudy.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["download"] = _download
    functions: dict[str, Any] = {"marker": series_path, "shape": series_shape}
    environment.globals.update(functions)
    environment.tests["embedded"] = _is_embedded
    return environment


def _is_embedded(value: Any) -> bool:
    """Whether a table is small enough to lie in the page."""
    return len(value.csv()) <= MAX_EMBEDDED


def _download(content: Any) -> str:
    """Text as a data: address that a browser saves."""
    kind, text = ("csv", content.csv()) if isinstance(content, Data) else ("plain", str(content))
    return f"data:text/{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
