"""Functions in a user's own Python file: `PATH/FILE.py:FUNCTION`."""

import importlib.util
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from traceback import walk_tb
from typing import Any

from understudy.errors import UserError


class UserFunction:
    """A function in a user's file; what goes wrong in the file is told in one line.

    Args:
        name: Path of the file, colon, name of the function.

    Raises:
        UserError: The file or the function is not there, or the file cannot be imported.
    """

    def __init__(self, name: str) -> None:
        file, _, self.name = name.rpartition(":")
        self.path = Path(file)
        if not self.path.is_file():
            raise UserError(f"no such file '{file}': write PATH/FILE.py:FUNCTION")
        self.function = self._load()

    def __call__(self, **arguments: Any) -> Any:
        """What the function returns.

        Raises:
            UserError: It raised something.
        """
        with _explained(self.path):
            return self.function(**arguments)

    def _load(self) -> Callable[..., Any]:
        place = self.path.resolve()
        # Two files may have the same name.
        spec = importlib.util.spec_from_file_location(
            f"understudy_user_{place.stem}_{sha256(str(place).encode()).hexdigest()[:8]}", place
        )
        if spec is None or spec.loader is None:
            raise UserError(f"'{self.path}' is not a Python file: write PATH/FILE.py:FUNCTION")
        module = importlib.util.module_from_spec(spec)
        # Dataclasses and pickling look a class's module up by name.
        sys.modules[spec.name] = module
        with _explained(self.path):
            spec.loader.exec_module(module)
        function = getattr(module, self.name, None)
        if not callable(function):
            raise UserError(f"'{self.path}' has no function '{self.name}': define it, or name another one")
        return function


@contextmanager
def _explained(path: Path) -> Generator[None]:
    """Turn whatever the user's file raises into one line that says where."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        line = _line(error, str(path.resolve()))
        where = f"{path}, line {line}" if line else str(path)
        reason = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        raise UserError(f"{where}: {type(error).__name__}: {reason}") from error


def _line(error: Exception, file: str) -> int | None:
    """The innermost line of the user's file that led to the error."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return lines[-1] if lines else None
