"""The command that looks for what is wrong."""

from typing import Annotated

import typer

from understudy.cli.terminal import reported, say, show
from understudy.cli.training import Config
from understudy.errors import UserError


def doctor(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [KEY=VALUE]...", show_default=False)] = None,
    config: Config = None,
    images: Annotated[int, typer.Option(min=2, help="Most training and validation images to look at.")] = 2000,
) -> None:
    """Find what is wrong with a distillation before it trains, or with a run: each finding with its fix.

    Settings are those of `distill`. Nothing is written. The exit code is 1 where there are errors.

    Examples:

      understudy doctor data=digits teacher=runs/teacher student=cnn-xs method=kd

      understudy doctor -c distillation.yaml --images 500

      understudy doctor runs/kd
    """
    with reported():
        from understudy.config import parse_override
        from understudy.doctor.checkup import examine, examine_run
        from understudy.doctor.finding import Severity
        from understudy.doctor.table import diagnosis, findings_table
        from understudy.experiments.settings import resolve

        runs = [argument for argument in arguments or [] if "=" not in argument]
        if len(runs) > 1 or (runs and config):
            raise UserError(f"doctor takes one run or settings, got {', '.join([*runs, *map(str, config or [])])}")
        pairs = [parse_override(argument) for argument in arguments or [] if "=" in argument]
        if runs:
            findings = examine_run(runs[0], pairs, images=images)
        else:
            findings = examine(resolve("distill", config or [], pairs), images=images)
        show(findings_table(findings))
        say(diagnosis(findings))
        if any(finding.severity is Severity.ERROR for finding in findings):
            raise typer.Exit(1)
