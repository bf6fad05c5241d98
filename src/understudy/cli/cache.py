"""Commands about caches of teachers' answers."""

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.terminal import reported, say, show
from understudy.cli.training import Config, Overrides
from understudy.errors import UserError

Folder = Annotated[Path, typer.Argument(help="Where the caches are.")]
FOLDER = Path("runs/cache")


def build(overrides: Overrides = None, config: Config = None) -> None:
    """Ask a teacher about every view of every image now, so that later runs need not.

    Takes the settings of the `distill` commands that are to use it; what the method, the student and their settings
    are does not matter to the cache. Under torchrun each process asks about its share.

    Examples:

      understudy cache build data=digits teacher=runs/teacher student=cnn-xs data.views=4

      torchrun --nproc-per-node 2 -m understudy cache build data=digits teacher=runs/teacher student=cnn-xs data.views=4
    """
    with reported():
        from understudy.config import parse_override
        from understudy.engine.distributed import join, leave
        from understudy.experiments.caching import build_cache
        from understudy.experiments.settings import resolve

        pairs = [parse_override(override) for override in overrides or []]
        if ("cache", "off") in pairs:
            raise UserError("understudy cache build fills a cache: leave cache=off out")
        settings = resolve("distill", config or [], [*pairs, ("cache", "on")])
        world = join(settings.device)
        try:
            build_cache(settings, world=world, say=say)
        finally:
            leave()


def info(folder: Folder = FOLDER) -> None:
    """List the caches in a folder (`cache.path` of the runs): teacher, data, size, last use.

    Example:

      understudy cache info
    """
    with reported():
        from understudy.experiments.caches import caches_table, find_caches

        show(caches_table(find_caches(folder)))


def verify(folder: Folder = FOLDER) -> None:
    """Read every row of every cache; damaged rows are named, and made anew by the next run that needs them.

    Example:

      understudy cache verify
    """
    with reported():
        from understudy.experiments.caches import counts_table, verify_caches

        counted = verify_caches(folder)
        show(counts_table(counted))
        if any(count is None or count.damaged for _, count in counted):
            raise typer.Exit(1)


def prune(
    folder: Folder = FOLDER,
    days: Annotated[float, typer.Option(min=0, help="Keep what a run used within so many days; 0 deletes all.")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete caches that nobody used for a while, and those that cannot be read any more.

    Examples:

      understudy cache prune --days 7

      understudy cache prune --days 0 --dry-run
    """
    with reported():
        from understudy.experiments.caches import prune_caches
        from understudy.teachers.store import shown_size

        gone = prune_caches(folder, days=days, dry_run=dry_run)
        freed = shown_size(sum(each.num_bytes for each in gone))
        for each in gone:
            say(f"{'would delete' if dry_run else 'deleted'} {each.path} ({shown_size(each.num_bytes)})")
        say(f"{len(gone)} caches, {freed}{' would be' if dry_run else ''} freed")
