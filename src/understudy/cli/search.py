"""The command that tunes."""

from typing import Annotated

import typer

from understudy.cli.studies import split
from understudy.cli.terminal import reported, say, show
from understudy.cli.training import Config

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[FILE|SEARCH] [KEY=VALUE]...", show_default=False)]


def search(
    arguments: Arguments = None,
    config: Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the settings, list what would be tried, write nothing.")
    ] = False,
) -> None:
    """Search for good settings of a method and, with as many trials, of plain training, on the validation split.

    Settings are those of `distill`, with space={KEY:[LOW,HIGH,log],...} and trials=20. The same command, or the
    directory of the search alone, goes on with what is not done; trials may be added. It writes best-METHOD.yaml and
    confirm.yaml, a study of what was found with fresh seeds. Needs the extra `search`.

    Examples:

      understudy search data=digits teacher=runs/teacher student=cnn-xs method=kd
      'space={method.temperature: [1,20,log], label.weight: [0,1], train.optimizer.lr: [1e-4,1e-1,log]}' out=runs/search

      understudy search runs/search trials=40

      understudy study -c runs/search/confirm.yaml
    """
    with reported():
        from understudy.search.outcome import outcome_table, space_table
        from understudy.search.search import run_search
        from understudy.search.settings import SearchDirectory, resolve_search

        found = resolve_search(*split(arguments or [], config or [], SearchDirectory))
        if dry_run:
            return show(space_table(found))
        outcome = run_search(found, say=say)
        show(outcome_table(outcome))
        if not all(arm["best"] for arm in outcome["arms"]):
            say(f"no trial of an arm came to its end: see the .log and .error files below {found.directory.path}/runs")
            raise typer.Exit(1)
        say(f"confirm it with fresh seeds, on the test split: understudy study -c {found.directory.confirm}")
    return None
