"""The directory of a study: many runs that are compared, and what came out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy.errors import UserError
from understudy.record import RunDirectory
from understudy.yaml_file import parse_yaml


class StudyDirectory:
    """The files of one study.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        """Every setting, resolved; `understudy study` takes it."""
        return self.path / "study.yaml"

    @property
    def summary(self) -> Path:
        """What came out: arms with their runs, comparisons, runs that failed; made anew whenever a run ends."""
        return self.path / "study.json"

    @property
    def table(self) -> Path:
        """One line for each finished run."""
        return self.path / "study.csv"

    def run(self, arm: str, seed: int, fold: int | None = None) -> RunDirectory:
        """The run of an arm with a seed, on a fold of the data where there are several."""
        name = f"seed{seed}" if fold is None else f"seed{seed}-fold{fold}"
        return RunDirectory(self.path / "runs" / arm / name)

    def exists(self) -> bool:
        """Whether this is the directory of a study."""
        return self.config.exists()

    def read_config(self) -> dict[str, Any]:
        """The resolved settings.

        Raises:
            UserError: This is no study.
        """
        if not self.exists():
            raise UserError(f"'{self.path}' is no study: it has no study.yaml")
        tree = parse_yaml(self.config.read_text(encoding="utf-8"), str(self.config))
        if not isinstance(tree, dict):
            raise UserError(f"'{self.path}' is no study: its study.yaml holds no settings")
        return tree

    def read_summary(self) -> dict[str, Any]:
        """What came out so far.

        Raises:
            UserError: No run of the study has ended.
        """
        self.read_config()
        if not self.summary.exists():
            raise UserError(f"no run of the study in '{self.path}' has ended: start it again with the same command")
        return json.loads(self.summary.read_text(encoding="utf-8"))

    def runs_of(self, arm: dict[str, Any]) -> Iterator[RunDirectory]:
        """The finished runs of an arm of the summary, in its order."""
        for run in arm["runs"]:
            yield RunDirectory(self.path / run["path"])
