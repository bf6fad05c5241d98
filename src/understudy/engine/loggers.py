"""Where the numbers of a run go: always `metrics.jsonl`, on request TensorBoard, Weights & Biases or MLflow."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from understudy.errors import UserError
from understudy.record import read_lines, write_text
from understudy.registry import Registry

Record = Mapping[str, Any]


class Logger(Protocol):
    """A sink for records: flat names and numbers, with `step` among them."""

    def log(self, record: Record) -> None:
        """Take one record."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


LOGGERS: Registry[Callable[..., Logger]] = Registry("logger", "understudy.engine")


class JsonLines:
    """One JSON object per line; after a resume the lines of steps that are repeated are dropped.

    Args:
        path: The file.
        step: Optimizer steps done; lines of later steps are dropped.
    """

    def __init__(self, path: Path, *, step: int = 0) -> None:
        kept = [record for record in read_lines(path) if record["step"] <= step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a", encoding="utf-8")

    def log(self, record: Record) -> None:
        """Append one line, visible to readers at once."""
        self._file.write(json.dumps(dict(record)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@LOGGERS.register("tensorboard")
class TensorBoard:
    """TensorBoard event files in the run directory.

    Args:
        directory: The run directory.
        step: Optimizer steps done; later events of an earlier attempt are hidden.
    """

    package = "tensorboard"

    def __init__(self, directory: Path, *, step: int = 0) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)

    def log(self, record: Record) -> None:
        """Write every number as a scalar."""
        for name, value in _numbers(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


@LOGGERS.register("wandb")
class WeightsAndBiases:
    """Weights & Biases; its own environment variables choose project and offline mode.

    Args:
        directory: The run directory; its name becomes the run's.
        step: Optimizer steps done.
    """

    package = "wandb"

    def __init__(self, directory: Path, *, step: int = 0) -> None:
        import wandb  # pyright: ignore[reportMissingImports]  # an extra

        # From the whole path: runs of one name in two folders are two runs; a resumed one goes on.
        place = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(dir=str(directory), name=directory.name, id=place, resume="allow")

    def log(self, record: Record) -> None:
        """Log every number."""
        self._run.log(_numbers(record), step=record["step"])

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


@LOGGERS.register("mlflow")
class MLflow:
    """MLflow; its own environment variables choose server and experiment.

    Args:
        directory: The run directory; its name becomes the run's.
        step: Optimizer steps done.
    """

    package = "mlflow"

    def __init__(self, directory: Path, *, step: int = 0) -> None:
        import mlflow  # pyright: ignore[reportMissingImports]  # an extra

        self._mlflow = mlflow
        mlflow.start_run(run_name=directory.name)

    def log(self, record: Record) -> None:
        """Log every number."""
        self._mlflow.log_metrics(_numbers(record), step=record["step"])

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def check_loggers(names: Iterable[str]) -> None:
    """Find out whether loggers can be used.

    Raises:
        UserError: There is none of a name, or the package that it needs is not installed.
    """
    for name in names:
        package = getattr(LOGGERS.get(name), "package", None)
        if package is not None and find_spec(package) is None:
            raise UserError(f"loggers={name} needs a package that is not installed: pip install 'understudy[{name}]'")


def _numbers(record: Record) -> dict[str, float]:
    return {name: value for name, value in record.items() if isinstance(value, int | float) and name != "step"}
