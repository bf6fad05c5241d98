"""The command that makes published tables again."""

from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli.terminal import reported, say, show
from understudy.errors import UserError

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[TABLE] [KEY=VALUE]...", show_default=False)]
NAMES = ("columns", "rows")


def reproduce(arguments: Arguments = None) -> None:
    """Make a published table again: published value, own value, difference; without a table list all.

    scale=small does the same on the digits in minutes, where the signs of the gains can be compared. columns=[...] and
    rows=[...] take parts of a table, seeds=3 changes the number of runs, teachers.NAME=RUN gives a teacher that is
    trained already, download=true fetches what can be fetched; data., train., device and executor as of `study`.

    Examples:

      understudy reproduce

      understudy reproduce seed004-parameters

      understudy reproduce cifar100-same scale=small rows=[KD,AT] seeds=3

      understudy reproduce cifar100-same columns=[resnet56/resnet20] executor.workers=2
    """
    with reported():
        from understudy.reproduce.run import reproduce as make
        from understudy.reproduce.shown import list_table, values_table
        from understudy.reproduce.small import NOTE
        from understudy.reproduce.table import read_table

        if not arguments:
            return show(list_table())
        name, *texts = arguments
        table = read_table(name)
        chosen, download = _chosen(name, texts)
        if chosen.scale == "small" and not table.computed:
            say(NOTE)
        outcome = make(name, table, chosen, download=download, say=say)
        show(values_table(table, outcome.values))
        for line in outcome.failed:
            say(f"failed: {line}")
        say(f"wrote {chosen.out / 'table.json'} and table.csv")
        if outcome.failed or any(value.agrees is False for value in outcome.values):
            raise typer.Exit(1)
    return None


def _chosen(name: str, texts: list[str]) -> tuple[Any, bool]:
    """How the table is made, from key=value, and whether things may be fetched."""
    from understudy.config import parse_override
    from understudy.reproduce.plan import Chosen

    pairs = dict(map(parse_override, texts))
    own = {key: pairs.pop(key) for key in ("scale", "seeds", "out", "download", *NAMES) if key in pairs}
    scale = own.get("scale", "full")
    if scale not in ("full", "small"):
        raise UserError(f"scale={scale} is neither full nor small")
    head = "teachers."
    teachers = {key.removeprefix(head): str(value) for key, value in pairs.items() if key.startswith(head)}
    executor = [pair for pair in pairs.items() if pair[0].partition(".")[0] == "executor"]
    suffix = "-small" if scale == "small" else ""
    chosen = Chosen(
        out=Path(str(own.get("out") or f"runs/reproduce/{name}{suffix}")),
        scale=scale,
        seeds=own.get("seeds"),
        **{kind: _names(kind, own[kind]) for kind in NAMES if kind in own},
        teachers=teachers,
        executor=executor,
        overrides=[pair for pair in pairs.items() if pair not in executor and not pair[0].startswith(head)],
    )
    return chosen, bool(own.get("download", False))


def _names(kind: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        raise UserError(f"{kind}={value} is no list of names: give {kind}=[first,second]")
    return tuple(map(str, value if isinstance(value, list) else [value]))
