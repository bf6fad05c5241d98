"""The command that compares."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.terminal import reported, say, show
from understudy.cli.training import Config
from understudy.errors import UserError

if TYPE_CHECKING:
    from understudy.study_record import StudyDirectory

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[FILE|STUDY] [KEY=VALUE]...", show_default=False)]


def study(
    arguments: Arguments = None,
    config: Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the settings, list the runs, write nothing.")
    ] = False,
    run: Annotated[str | None, typer.Option(help="Do one run of the study, as in --run kd/seed1.")] = None,
) -> None:
    """Compare methods or settings over several seeds, each paired with plain training of equal budget.

    Settings are those of `distill`, with seeds=5 or seeds=[1,2,3]; with arms in a file, methods=[kd,dkd] or
    grid={method.temperature:[2,4]}; with folds=5, baseline=none, executor.workers=2. The same command, or the study's
    directory alone, goes on with what is not finished; seeds and arms may be added.

    Examples:

      understudy study data=digits teacher=runs/teacher student=cnn-xs methods=[kd,dkd,at] seeds=5 out=runs/study

      understudy study study.yaml executor.workers=2

      understudy study runs/study seeds=8
    """
    with reported():
        from understudy.studies.planned import attempt
        from understudy.studies.resolve import resolve_study
        from understudy.studies.study import run_study
        from understudy.studies.summary import failed_lines
        from understudy.studies.tables import plan_table
        from understudy.study_record import StudyDirectory

        found = resolve_study(*split(arguments or [], config or [], StudyDirectory))
        if dry_run:
            return show(plan_table(found.runs()))
        if run is not None:
            raise typer.Exit(0 if attempt(found.run(run), say=say) else 1)
        summary = run_study(found, say=say)
        if summary["finished"]:
            _show(summary, found.directory.path)
        for line in failed_lines(summary):
            say(f"failed: {line}")
        if summary["failed"]:
            say("the same command tries again what failed")
            raise typer.Exit(1)
    return None


def split(
    arguments: list[str], config: list[Path], kind: "type[StudyDirectory]"
) -> tuple[list[Path], list[tuple[str, Any]]]:
    """Files and overrides; a directory of the kind stands for its file, and for itself if it was moved."""
    from understudy.config import parse_override

    pairs = [parse_override(argument) for argument in arguments if "=" in argument]
    named = [Path(argument) for argument in arguments if "=" not in argument]
    if len(named) > 1:
        raise UserError(f"{kind.kind} takes one file or {kind.kind}, got {', '.join(map(str, named))}")
    if not named or not named[0].is_dir():
        return [*named, *config], pairs
    directory = kind(named[0])
    directory.read_config()
    return [directory.config, *config], [("out", str(named[0])), *pairs]


def _show(summary: dict[str, Any], path: Path) -> None:
    from understudy.report.study import save_study_figure
    from understudy.studies.tables import arms_table, comparisons_table

    show(arms_table(summary))
    if summary["comparisons"]:
        show(comparisons_table(summary))
    for warning in summary["warnings"]:
        say(f"warning: {warning}")
    figure = save_study_figure(summary, path / "arms.png")
    say(f"wrote {figure} and the numbers below {path}")
