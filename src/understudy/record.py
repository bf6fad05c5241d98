"""The run directory: what a run leaves behind, and how it is written and read."""

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from understudy.errors import UserError
from understudy.lock import PATIENCE, locked
from understudy.yaml_file import parse_yaml, yaml_text

# Settings that do not change the result.
ELSEWHERE = ("out", "loggers", "cache.path", "cache.fill")
# Names of what the Python interface was given as an object, which settings alone cannot make again.
OBJECT = "object:"
# Beside the files of a run while a process writes them.
LOCK = ".lock"


class RunDirectory:
    """The files of one run.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        """Every setting, resolved; `understudy distill -c` takes it."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, command, commit, data fingerprint, teacher."""
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        """One JSON line for each log step and each epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The newest checkpoint: everything needed to go on."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The student of the epoch that was best on the validation split."""
        return self.path / "best.safetensors"

    @property
    def student(self) -> Path:
        """The finished student alone, loadable without the run."""
        return self.path / "student.safetensors"

    @property
    def result(self) -> Path:
        """The outcome; it exists when the run is finished."""
        return self.path / "result.json"

    def logits(self, split: str) -> Path:
        """The finished student's logits on a split, with the labels, in the order of the split."""
        return self.path / f"logits-{split}.safetensors"

    def exit_logits(self, split: str) -> Path:
        """Those of all its exits, where it has early ones, the main exit last; of the validation split alone."""
        return self.path / f"exit-logits-{split}.safetensors"

    def teacher_logits(self, split: str) -> Path:
        """Those of its teacher, or of all its teachers together, as they taught: adjusted classes and temperature."""
        return self.path / f"teacher-logits-{split}.safetensors"

    @property
    def evaluation(self) -> Path:
        """Everything that was measured about the finished student and its teacher; `understudy evaluate` writes it."""
        return self.path / "evaluation.json"

    @property
    def figures(self) -> Path:
        """Figures of the evaluation, with the numbers behind them."""
        return self.path / "evaluation"

    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.result.exists()

    def check(self, settings: Mapping[str, Any]) -> None:
        """Find out whether the directory is this run's or free; nothing is written.

        Args:
            settings: The resolved settings; what does not change the result is not compared: `out`, so that a run
                directory may be moved, `loggers`, and where and when a cache is filled.

        Raises:
            UserError: It belongs to a run with other settings, holds files that are no run's, or cannot be created.
        """
        if self.config.exists():
            self._check_same(settings)
            return
        self._check_writable()
        if self.path.exists() and not all(is_left_over(path) for path in self.path.iterdir()):
            raise UserError(f"'{self.path}' is not empty and holds no run: choose another out=DIR")

    @contextmanager
    def locked(self, *, patience: float = PATIENCE) -> Generator[None]:
        """Make the directory if it is not there and keep other processes from writing into it while the block runs.

        Args:
            patience: Seconds to wait for a process that is writing into it.

        Raises:
            UserError: One is writing into it, or it cannot be created.
        """
        make_directory(self.path)
        with locked(self.path / LOCK, patience=patience):
            yield

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Make the directory this run's, or find that it already is.

        Args:
            settings: The resolved settings.

        Raises:
            UserError: As `check`.
        """
        self.check(settings)
        if self.config.exists():
            return
        make_directory(self.path)
        write_text(self.config, yaml_text(settings))

    def read_config(self) -> dict[str, Any]:
        """The resolved settings.

        Raises:
            UserError: This is no run directory.
        """
        if not self.config.exists():
            raise UserError(f"'{self.path}' is not a run directory: it has no config.yaml")
        try:
            tree = parse_yaml(self.config.read_text(encoding="utf-8"), str(self.config))
        except UserError:
            tree = None
        if not isinstance(tree, dict):
            raise UserError(f"'{self.path}' is not a run directory: its config.yaml holds no settings")
        return tree

    def read_provenance(self) -> dict[str, Any]:
        """Where the run comes from; empty if it was killed before it could say so."""
        return json.loads(self.provenance.read_text(encoding="utf-8")) if self.provenance.exists() else {}

    def read_result(self) -> dict[str, Any]:
        """The outcome of a finished run.

        Raises:
            UserError: The run is not finished.
        """
        if not self.finished():
            raise UserError(f"the run in '{self.path}' is not finished: start it again with the same command")
        return json.loads(self.result.read_text(encoding="utf-8"))

    def _check_writable(self) -> None:
        nearest = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise _cannot_create(self.path, f"'{nearest}' is a file")
        if not os.access(nearest, os.W_OK):
            raise _cannot_create(self.path, f"'{nearest}' may not be written")

    def _check_same(self, settings: Mapping[str, Any]) -> None:
        if changed := differences(self.read_config(), settings):
            key, (old, new) = next(iter(changed.items()))
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(
                f"'{self.path}' holds a run with other settings ({key} was {old!r}, is {new!r}{more}): "
                "choose another out=DIR"
            )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """In which settings two runs differ, but for those that do not change the result.

    Args:
        old: The resolved settings of one run.
        new: Those of the other.

    Returns:
        Both values by dotted key; None is one that is not there.
    """
    before, after = _flat(old), _flat(new)
    pairs = {key: (before.get(key), after.get(key)) for key in {**before, **after} if key not in ELSEWHERE}
    return {key: (a, b) for key, (a, b) in pairs.items() if a != b}


def make_directory(path: Path) -> None:
    """Make a directory and those above it, if they are not there.

    Raises:
        UserError: It cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_create(path, error.strerror) from error


def is_left_over(path: Path) -> bool:
    """Whether a kill during the very first write may have left this behind."""
    return path.name == LOCK or path.name.endswith(".tmp")


def _cannot_create(path: Path, reason: str | None) -> UserError:
    return UserError(f"cannot create '{path}': {reason}; choose another out=DIR")


def _flat(tree: Any, key: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping):
        items = [(f"{key}.{name}" if key else str(name), value) for name, value in tree.items()]
    elif isinstance(tree, list | tuple) and any(isinstance(item, Mapping) for item in tree):
        items = [(f"{key}[{position}]", value) for position, value in enumerate(tree)]
    else:
        return {key: list(tree) if isinstance(tree, tuple) else tree}
    return {name: value for child, subtree in items for name, value in _flat(subtree, child).items()}


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that a kill at any moment leaves the old content or the new, never a part.

    Args:
        path: The file; its directory exists.
        write: Writes the content into the open file it is given.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text atomically (see `write_atomically`)."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, values: object) -> None:
    """Write plain values as JSON, atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file; a last line cut short by a kill is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
