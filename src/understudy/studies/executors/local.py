"""Processes on this machine, a new one for each run: one that crashes takes no other with it."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from types import ModuleType

import torch

from understudy.engine.interrupt import Interrupted
from understudy.errors import UserError
from understudy.record import make_directory
from understudy.studies.executors.base import EXECUTORS
from understudy.studies.planned import Planned, Say, attempt
from understudy.study_record import StudyDirectory

# What every run imports and this module does not: seconds for each process otherwise.
PRELOADED = [__name__, "torch._dynamo", "sklearn.datasets", "understudy.methods"]
KILLED = "killed by {name}; SIGKILL often means that the machine ran out of memory: try executor.workers=1"


@EXECUTORS.register("local")
class Local:
    """Several runs at a time.

    A run comes out as if it was done by hand on as many threads.

    Args:
        workers: How many at a time. Small networks on a CPU are fastest with a worker for each core.
        threads: Of each run; None divides those of this process, which are the cores or OMP_NUM_THREADS.
    """

    def __init__(self, *, workers: int = 1, threads: int | None = None) -> None:
        if workers < 1 or (threads is not None and threads < 1):
            raise UserError(f"executor.workers={workers} and executor.threads={threads} must be at least 1")
        self.workers = workers
        self.threads = threads or max(1, torch.get_num_threads() // workers)

    def run(self, runs: Sequence[Planned], study: StudyDirectory, *, say: Say) -> Generator[Planned]:
        """See `Executor`."""
        context = _context()
        waiting, busy = deque(runs), dict[BaseProcess, Planned]()
        try:
            while waiting or busy:
                while waiting and len(busy) < self.workers:
                    planned = waiting.popleft()
                    process = context.Process(target=_work, args=(planned, self.threads), name=planned.name)
                    with _unnamed_main():
                        process.start()
                    busy[process] = planned
                for process in _ended(busy):
                    planned = busy.pop(process)
                    _note_crash(planned, process.exitcode)
                    yield planned
        finally:
            _stop(list(busy))


def _context() -> ForkServerContext | SpawnContext:
    """Where the system can fork, processes start in a moment, from one that has imported everything."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextmanager
def _unnamed_main() -> Generator[None]:
    """Keep a new process from importing the user's script, which would start the study once more."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _ended(busy: dict[BaseProcess, Planned]) -> list[BaseProcess]:
    # With a timeout, because Ray's way to interrupt a task waits for the next line of Python.
    while not wait([process.sentinel for process in busy], timeout=1):
        pass
    found = [process for process in busy if not process.is_alive()]
    for process in found:
        process.join()
    return found


def _stop(processes: Sequence[BaseProcess]) -> None:
    """Ask each to stop, and wait until it has saved itself."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _note_crash(planned: Planned, code: int | None) -> None:
    """What a process could not write down itself."""
    if planned.directory.finished() or planned.error.exists():
        return
    if code is not None and code < 0:
        planned.fail(KILLED.format(name=signal.Signals(-code).name))
    else:
        planned.fail(f"its process ended with exit code {code}: see {planned.log}")


def _work(planned: Planned, threads: int) -> None:
    """What a worker does."""
    # Out of the terminal's group: Ctrl-C is for the parent, which then asks each worker once.
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    make_directory(planned.log.parent)
    with planned.log.open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(threads)
    try:
        done = attempt(planned, say=_say)
    except Interrupted:
        sys.exit(130)
    sys.exit(0 if done else 1)


def _say(line: str) -> None:
    print(line, flush=True)


def _end_with_parent() -> None:
    """Stop as if asked to when the parent is gone, however it ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
