"""What is in a folder of caches, whether it is sound, and what may go."""

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from understudy.errors import UserError
from understudy.teachers.store import DESCRIPTION, ROWS, Count, TargetStore, read_description, shown_size

DAY = 86400.0


class Found(NamedTuple):
    """One cache.

    Attributes:
        path: Its folder.
        about: Names of teacher and data; empty where the description cannot be read.
        problem: Why it cannot be used, or None.
        num_bytes: What it takes on the disk.
        days: Days since a run used it last.
    """

    path: Path
    about: dict[str, Any]
    problem: str | None
    num_bytes: int
    days: float


def find_caches(folder: Path) -> list[Found]:
    """The caches in a folder, those used last first.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"no caches in '{folder}': build one with understudy cache build, or name another folder")
    places = [path.parent for path in folder.glob(f"*/{DESCRIPTION}")]
    return sorted((_found(path) for path in places), key=lambda found: found.days)


def caches_table(found: list[Found]) -> Table:
    """A row for each cache."""
    table = Table("cache", "teacher", "data", "size", "last used", title="caches of teachers' answers")
    for each in found:
        about = [str(each.about.get(name, "")) for name in ("teacher", "data")]
        used = each.problem or (f"{each.days:.0f} days ago" if each.days >= 1 else "today")
        table.add_row(str(each.path), *about, shown_size(each.num_bytes), used)
    return table


def verify_caches(folder: Path) -> list[tuple[Found, Count | None]]:
    """Read every row of every cache that can be opened and check it."""
    return [(each, None if each.problem else TargetStore(each.path).count()) for each in find_caches(folder)]


def counts_table(counted: list[tuple[Found, Count | None]]) -> Table:
    """A row for each cache that was checked."""
    table = Table("cache", "views", "targets", "damaged", title="every row was read")
    for each, count in counted:
        if count is None:
            table.add_row(str(each.path), "", "", each.problem)
        else:
            table.add_row(str(each.path), *(f"{number:,}" for number in count))
    return table


def prune_caches(folder: Path, *, days: float, dry_run: bool = False) -> list[Found]:
    """Delete caches that cannot be used any more or that no run has used for some days.

    Args:
        folder: Where they are.
        days: Those used within so many days stay; 0 deletes all.
        dry_run: Only find out.

    Returns:
        What was deleted.
    """
    gone = [each for each in find_caches(folder) if each.problem or each.days >= days]
    for each in gone:
        if not dry_run:
            shutil.rmtree(each.path)
    return gone


def _found(path: Path) -> Found:
    try:
        about, problem = read_description(path)["key"].get("about", {}), None
    except UserError as error:
        about, problem = {}, str(error)
    num_bytes = sum(file.stat().st_size for file in path.iterdir())
    used = max((path / name).stat().st_mtime for name in (DESCRIPTION, ROWS) if (path / name).exists())
    return Found(path, about, problem, num_bytes, max(0.0, time.time() - used) / DAY)
