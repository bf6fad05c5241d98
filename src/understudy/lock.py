"""One writer at a time."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from understudy.errors import UserError

# Seconds after which the workers of a killed process, which hold its locks, have noticed and ended too.
PATIENCE = 6.0


@contextmanager
def locked(path: Path, *, patience: float = PATIENCE) -> Generator[None]:
    """Hold a lock file while the block runs; the system lets go of it when the process ends, however it ends.

    Args:
        path: The lock file, in the directory that one process may write; it is removed afterwards.
        patience: Seconds to wait for another process that holds it.

    Raises:
        UserError: Another process holds it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise UserError(
            f"another process is writing into '{path.parent}': wait for it to end, or choose another out=DIR"
        ) from None
    try:
        yield
    finally:
        # Before it is released: afterwards it may be another's. Windows does so itself.
        with suppress(OSError):
            path.unlink()
        lock.release()
