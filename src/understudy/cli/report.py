"""The command that writes a page."""

from typing import Annotated

import typer

from understudy.cli.terminal import reported, say
from understudy.cli.training import Overrides


def report(
    path: Annotated[str, typer.Argument(metavar="RUN_OR_STUDY", help="The directory of a run or a study.")],
    overrides: Overrides = None,
) -> None:
    """Write one HTML page about a run or a study: whether it helped, tables, figures, images, how to repeat it.

    The page needs nothing but itself. baseline=RUN is the plain run to compare a run with; out=FILE.html is where the
    page goes, by default report.html in the directory. The numbers behind each figure go to a folder beside it.

    Examples:

      understudy report runs/kd baseline=runs/plain

      understudy report runs/study out=study.html
    """
    with reported():
        from understudy.config import parse_override, settings_of, validated
        from understudy.experiments.evaluate import ensure_evaluation
        from understudy.experiments.pictures import read_pictures
        from understudy.record import RunDirectory
        from understudy.report.make import make_report

        supplied = ("evaluate", "read_pictures")
        chosen = dict(parse_override(override) for override in overrides or [])
        settings = validated(settings_of(make_report, exclude=supplied), chosen).model_dump(exclude_unset=True)

        def evaluate(run: RunDirectory) -> None:
            if not run.evaluation.exists():
                say(f"evaluating {run.path}")
            ensure_evaluation(run.path, say=say)

        written = make_report(path, evaluate=evaluate, read_pictures=read_pictures, **settings)
        say(written.sentence)
        say(f"wrote {written.page}; the numbers behind it are in {written.folder}")
