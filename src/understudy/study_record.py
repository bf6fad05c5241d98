"""The directory of a study: many runs that are compared, and what came out."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from understudy.errors import UserError
from understudy.lock import locked
from understudy.record import LOCK, RunDirectory, is_left_over, make_directory, write_text
from understudy.yaml_file import parse_yaml, yaml_text


class StudyDirectory:
    """The files of one study.

    Args:
        path: The directory; it need not exist yet.
    """

    kind: ClassVar[str] = "study"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        """What the runs have in common, the arms, the seeds; `understudy study` takes it."""
        return self.path / f"{self.kind}.yaml"

    @property
    def summary(self) -> Path:
        """What came out: arms with their runs, comparisons, runs that failed; made anew whenever a run ends."""
        return self.path / f"{self.kind}.json"

    @property
    def table(self) -> Path:
        """One line for each finished run."""
        return self.path / f"{self.kind}.csv"

    def run(self, arm: str, seed: int, fold: int | None = None) -> RunDirectory:
        """The run of an arm with a seed, on a fold of the data where there are several."""
        name = f"seed{seed}" if fold is None else f"seed{seed}-fold{fold}"
        return RunDirectory(self.path / "runs" / arm / name)

    def finished_runs(self) -> list[Path]:
        """Where there is a finished run, whether the study is about it or not."""
        return [path for path in self.path.glob("runs/*/*") if RunDirectory(path).finished()]

    def log(self, run: RunDirectory) -> Path:
        """What a run said in its last attempt."""
        return run.path.with_name(f"{run.path.name}.log")

    def error(self, run: RunDirectory) -> Path:
        """One line that says why the last attempt of a run failed; it exists when it did."""
        return run.path.with_name(f"{run.path.name}.error")

    def check(self) -> None:
        """Find out whether the directory is a study's or free; nothing is written.

        Raises:
            UserError: It holds files that are no study's.
        """
        if not self.exists() and self.path.is_dir() and not all(map(is_left_over, self.path.iterdir())):
            raise UserError(f"'{self.path}' is not empty and holds no {self.kind}: choose another out=DIR")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Make the directory if it is not there and keep other processes from writing into it while the block runs.

        Raises:
            UserError: One is writing into it, or it cannot be created.
        """
        make_directory(self.path)
        with locked(self.path / LOCK):
            yield

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Make the directory that of a study, or change what it is about: seeds and arms may be added."""
        write_text(self.config, yaml_text(settings))

    def exists(self) -> bool:
        """Whether this is the directory of a study."""
        return self.config.exists()

    def read_config(self) -> dict[str, Any]:
        """The resolved settings.

        Raises:
            UserError: This is no study.
        """
        if not self.exists():
            raise UserError(f"'{self.path}' is no {self.kind}: it has no {self.config.name}")
        tree = parse_yaml(self.config.read_text(encoding="utf-8"), str(self.config))
        if not isinstance(tree, dict):
            raise UserError(f"'{self.path}' is no {self.kind}: its {self.config.name} holds no settings")
        return tree

    def read_summary(self) -> dict[str, Any]:
        """What came out so far.

        Raises:
            UserError: No run of the study has ended.
        """
        self.read_config()
        if not self.summary.exists():
            raise UserError(
                f"no run of the {self.kind} in '{self.path}' has ended: start it again with the same command"
            )
        return json.loads(self.summary.read_text(encoding="utf-8"))

    def runs_of(self, arm: dict[str, Any]) -> Iterator[RunDirectory]:
        """The finished runs of an arm of the summary, in its order."""
        for run in arm["runs"]:
            yield RunDirectory(self.path / run["path"])
