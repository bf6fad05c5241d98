"""What the commands say, and how they fail."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import typer

from understudy.errors import UserError


@contextmanager
def reported() -> Generator[None]:
    """Show what a user did wrong as one line, with exit code 2; a stop that was asked for has code 130."""
    try:
        yield
    except UserError as error:
        _fail(str(error), 2)
    except Exception as error:
        # Without an import of torch's own type: --help must not wait for it.
        if type(error).__name__ == "Interrupted":
            raise typer.Exit(130) from None
        if type(error).__name__ == "OutOfMemoryError":
            _fail("the device is out of memory: lower train.batch_size, or set train.accumulate=2", 2)
        raise


def _fail(message: str, code: int) -> None:
    if _first():
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(code) from None


def _first() -> bool:
    """Whether this is the process that talks to the user."""
    return os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """Print a line, from one of several processes."""
    if _first():
        print(line, flush=True)


def show(*renderables: Any) -> None:
    """Print tables and the like, from one of several processes."""
    if _first():
        from rich.console import Console

        console = Console()
        for renderable in renderables:
            console.print(renderable)
