import base64
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run, predictions
from page_parser import Page

from understudy.errors import UserError
from understudy.record import RunDirectory, write_json
from understudy.report.make import Written
from understudy.report.svg import series_color, series_marker, series_path

EVIL = '<b>&"$x$'
HEADINGS = [
    "The arms of the study",
    "The models",
    "Accuracy against cost",
    "How training went",
    "Confidence and calibration",
    "Class by class",
    "Where teacher and student disagree",
    "Where this comes from",
]


@pytest.fixture(scope="module")
def page(study_page: Path) -> Page:
    return Page(study_page.read_text(encoding="utf-8"))


def test_it_has_every_part_under_its_heading(page: Page) -> None:
    assert page.text("h2") == HEADINGS
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("header")) == len(page.all("footer")) == 1
    targets = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert set(targets) <= {attributes.get("id") for _, attributes in page.elements}
    assert len(targets) == len(HEADINGS) + 1


def test_it_needs_nothing_but_itself(page: Page) -> None:
    assert not page.all("script")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("href", "src") or value.startswith(("data:", "#")), (tag, name, value[:80])
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", "".join(page.text("style")))
    assert "@import" not in "".join(page.text("style"))


def test_ids_are_unique_and_references_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "clip-path"):
            for reference in re.findall(r"[\w-]+", re.sub(r"url\(#([\w-]+)\)", r"\1", attributes.get(name, ""))):
                assert reference in ids


def test_names_are_shown_as_they_are_and_run_nothing(page: Page) -> None:
    assert not page.all("b")
    cells = page.text("th")
    assert EVIL in cells
    assert f"{EVIL} 3" in cells
    assert f"{EVIL} helped:" in " ".join(page.text("p"))
    assert any(EVIL in text for text in page.text("desc"))


def test_figures_are_told_in_words_and_take_the_colours_of_the_page(study_page: Path, page: Page) -> None:
    drawings = [attributes for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert len(drawings) == len(page.text("desc")) == 2 + 3 + 5 + 3
    assert all(len(text) > 40 for text in page.text("desc"))
    for svg in re.findall(r'<svg viewBox[^>]+role="img".*?</svg>', study_page.read_text(encoding="utf-8"), re.DOTALL):
        assert "var(--" in svg
        assert not re.findall(r"(?:fill|stroke): ?#\w+", svg)
        assert "font-family" not in svg
        assert "<style" not in svg
    for image in page.all("img"):
        assert image["alt"]


def test_keys_have_the_markers_of_the_drawings(page: Page) -> None:
    marks = [attributes["d"] for attributes in page.all("path") if attributes.get("class") == "mark"]
    assert set(marks) == {series_path(number) for number in range(4)}


def test_more_series_than_colours_differ_by_their_markers() -> None:
    looks = [(series_color(number), series_marker(number)) for number in range(56)]
    assert len(set(looks)) == 56
    assert len({series_path(number) for number in range(8)}) == 8


def test_tables_have_captions_and_headers(page: Page) -> None:
    tables = page.all("table")
    assert len(tables) == len(page.all("caption")) == 6
    regions = [attributes for attributes in page.all("div") if attributes.get("role") == "region"]
    assert len(regions) == 6
    assert all(region["tabindex"] == "0" for region in regions)
    assert {attributes["scope"] for attributes in page.all("th")} == {"row", "col"}


def test_numbers_in_the_page_and_beside_it_are_the_same(study_page: Path, page: Page) -> None:
    folder = study_page.parent / "report"
    links = {link["download"]: link["href"] for link in page.all("a") if "download" in link}
    files = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    names = ["runs", "comparisons", "models", "fidelity", "pareto", "curves", "reliability", "calibration", "classes"]
    assert set(files) == {f"{name}.csv" for name in names}
    assert set(links) == {*files, "study.yaml"}
    for name, text in files.items():
        assert base64.b64decode(links[name].partition(",")[2]).decode() == text
        header, *rows = csv.reader(text.splitlines())
        assert rows
        assert all(len(row) == len(header) for row in rows)


def test_the_split_of_each_number_is_named(study_page: Path) -> None:
    rows = list(csv.DictReader((study_page.parent / "report/pareto.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["split"] for row in rows} == {"test"}
    assert [float(row["accuracy"]) for row in rows] == pytest.approx([190 / 200, 151 / 200, 484 / 600, 454 / 600])


def test_a_page_under_another_name_keeps_clear_of_runs(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    made_run(tmp_path / "kd", predictions(150), teacher=predictions(180), method=["kd"])
    before = sorted((tmp_path / "kd").iterdir())
    written = page_of(tmp_path / "kd", out=tmp_path / "kd.html")
    assert (written.page, written.folder) == (tmp_path / "kd.html", tmp_path / "kd-report")
    assert sorted((tmp_path / "kd").iterdir()) == before


def test_many_classes_and_large_images_stay_below_three_megabytes(
    tmp_path: Path, page_of: Callable[..., Written]
) -> None:
    random = np.random.default_rng(0)

    def noise(run: RunDirectory, indices: list[int]) -> dict[int, np.ndarray]:
        return {index: random.integers(0, 256, (300, 400, 3), dtype=np.uint8) for index in indices}

    run = made_run(tmp_path / "run", predictions(100), teacher=predictions(150), method=["kd"], epochs=600)
    record = json.loads(run.evaluation.read_text())
    for splits in (record["splits"], record["teacher"]["splits"]):
        names = [f"a class with a long name, number {number}" for number in range(1000)]
        splits["test"]["per_class"] = [{"class": name, "images": 50, "accuracy": 1 / 3} for name in names]
    write_json(run.evaluation, record)
    written = page_of(run.path, read_pictures=noise)
    page = Page(written.page.read_text(encoding="utf-8"))
    assert written.page.stat().st_size < 3e6
    assert len(page.all("img")) == 8
    assert len(page.all("tr")) > 1000
    # What is too long for the page is beside it, and the page says so.
    assert any("curves.csv" in text for text in page.text("code"))
    assert len((written.folder / "curves.csv").read_text().splitlines()) > 3000


def test_what_is_no_run_and_no_page_is_refused(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    with pytest.raises(UserError, match="neither a run nor a study"):
        page_of(tmp_path)
    with pytest.raises(UserError, match=r"ends in \.html"):
        page_of(tmp_path, out=tmp_path / "page.pdf")


def test_a_study_has_its_own_baseline(study_page: Path, page_of: Callable[..., Written]) -> None:
    with pytest.raises(UserError, match="its own baseline"):
        page_of(study_page.parent, baseline="runs/plain")
