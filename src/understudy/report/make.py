"""From a directory to its page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from understudy.errors import UserError
from understudy.record import RunDirectory
from understudy.report.disagreement import Pixels, chosen_for_page, find_disagreements
from understudy.report.page import sections_of, write_page
from understudy.report.run_subject import run_subject
from understudy.report.study_subject import study_subject
from understudy.report.subject import Subject
from understudy.report.verdict import judge
from understudy.study_record import StudyDirectory

Evaluate = Callable[[RunDirectory], object]
ReadPictures = Callable[[RunDirectory, Sequence[int]], Mapping[int, Pixels]]


class Written(NamedTuple):
    """What was made.

    Attributes:
        page: The HTML file.
        folder: Where the CSV files are.
        sentence: What the page says first.
    """

    page: Path
    folder: Path
    sentence: str


def make_report(
    path: str | Path,
    *,
    evaluate: Evaluate,
    read_pictures: ReadPictures,
    out: Path | None = None,
    baseline: str | None = None,
) -> Written:
    """Write the page of a run or a study.

    Args:
        path: The directory of a run or a study.
        evaluate: Writes `evaluation.json` of a run if it is not there.
        read_pictures: Pixels of images of a run's test split, by index; a `UserError` says why there are none.
        out: An HTML file; by default `report.html` in the directory.
        baseline: The plain run to compare a run with; a study has its own.

    Raises:
        UserError: This is neither, it is not finished, or the baseline does not fit.
    """
    page = Path(path) / "report.html" if out is None else out
    if page.suffix != ".html":
        raise UserError(f"out='{page}' is no HTML file: choose a name that ends in .html")
    subject = _subject(Path(path), baseline, evaluate)
    run = subject.main.runs[0]
    found = find_disagreements(run)
    pictures = _pictures(run, [each.place for each in chosen_for_page(found)], read_pictures)
    sections = sections_of(subject, disagreements=found, pictures=pictures)
    verdict = judge(subject)
    return Written(page, write_page(subject, verdict, sections, page), verdict.sentence)


def _subject(path: Path, baseline: str | None, evaluate: Evaluate) -> Subject:
    study = StudyDirectory(path)
    if study.exists():
        if baseline is not None:
            raise UserError("a study has its own baseline: leave out baseline=")
        for arm in study.read_summary()["arms"]:
            for run in study.runs_of(arm):
                evaluate(run)
        return study_subject(path)
    if not RunDirectory(path).config.exists():
        raise UserError(f"'{path}' is neither a run nor a study: it has no config.yaml and no study.yaml")
    for place in (path, baseline):
        if place is not None:
            evaluate(RunDirectory(place))
    return run_subject(path, baseline=baseline)


def _pictures(run: RunDirectory, indices: list[int], read: ReadPictures) -> Mapping[int, Pixels] | str:
    try:
        return read(run, indices) if indices else {}
    except (UserError, OSError) as error:
        return str(error)
