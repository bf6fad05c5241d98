"""A Ray cluster: each run is a task on one of its nodes, all of which see the study's directory."""

import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, NamedTuple
from uuid import uuid4

from understudy.errors import UserError
from understudy.studies.executors.base import EXECUTORS
from understudy.studies.executors.local import Local
from understudy.studies.planned import Planned, Say
from understudy.study_record import StudyDirectory

# Seconds in which a file system that machines share shows here what was written there.
SHOWN = 60
# Seconds after which such a file system lets go of the locks of a machine that died.
RELEASED = 120.0
NO_ANSWER = "start one with `ray start --head`, or set executor.address=local"


class Place(NamedTuple):
    """Where a task does its run.

    Attributes:
        folder: The directory that relative paths start from.
        study: That of the study.
        proof: A file in it with a name that no other directory has, so that a copy of it is not taken for it.
        threads: Of the run.
        gpus: Whether it has a GPU, or a part of one.
    """

    folder: str
    study: StudyDirectory
    proof: str
    threads: int
    gpus: bool

    def enter(self) -> str | None:
        """Go there; says what is wrong where that cannot be done."""
        wrong = f"put it on a disk that all nodes share, under the same path ({socket.gethostname()} does not see it)"
        try:
            os.chdir(self.folder)
        except OSError:
            return f"a node of the cluster does not see the directory '{self.folder}': {wrong}"
        if not (self.study.path / self.proof).exists():
            return f"a node of the cluster does not see the study's directory '{self.study.path}': {wrong}"
        return None


@EXECUTORS.register("ray")
class Ray:
    """Runs as tasks of a Ray cluster; when a node dies, its runs go on elsewhere from their last checkpoints.

    The directory that the command is called in, the study's, teacher and data must be on a disk that all nodes share,
    under the same path.

    Args:
        address: `auto` is the cluster that this machine belongs to, or RAY_ADDRESS; `local` starts one on this machine
            that lives as long as the study; HOST:PORT is that of a head node.
        num_cpus: Of each run, which are its threads.
        num_gpus: Of each run; a part of one lets several runs share it.
        retries: How many nodes of a run may die before it counts as failed; -1 is any number.
    """

    def __init__(self, *, address: str = "auto", num_cpus: int = 1, num_gpus: float = 0, retries: int = 3) -> None:
        if num_cpus < 1 or num_gpus < 0 or retries < -1:
            raise UserError(
                f"executor.num_cpus={num_cpus} must be at least 1, executor.num_gpus={num_gpus} at least 0, "
                f"executor.retries={retries} at least -1"
            )
        if find_spec("ray") is None:
            raise UserError("executor=ray needs a package that is not installed: pip install 'understudy[ray]'")
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.retries = retries

    def run(self, runs: Sequence[Planned], study: StudyDirectory, *, say: Say) -> Generator[Planned]:
        """See `Executor`."""
        import ray

        with _proof(study) as proof, connected(self.address):
            say(self._resources())
            place = Place(os.getcwd(), study, proof, self.num_cpus, self.num_gpus > 0)
            task: Any = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.retries)(do)
            busy = {task.options(name=planned.name).remote(planned, place): planned for planned in runs}
            try:
                while busy:
                    (ended,), _ = ray.wait(list(busy), num_returns=1)
                    planned = busy.pop(ended)
                    _note_outcome(planned, ended)
                    yield planned
            finally:
                _stop(list(busy))

    def _resources(self) -> str:
        """What the cluster has, and whether that is enough for a run."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        total = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
        line = f"Ray cluster: nodes: {len(nodes)}, CPUs: {total['CPU']:g}, GPUs: {total['GPU']:g}"
        if total["GPU"] and not self.num_gpus:
            line += "; warning: the runs use no GPU: set executor.num_gpus=1 for one each"
        if any(node.get("CPU", 0) >= self.num_cpus and node.get("GPU", 0) >= self.num_gpus for node in nodes):
            return line
        wanted = f"executor.num_cpus={self.num_cpus} and executor.num_gpus={self.num_gpus:g}"
        return f"{line}; warning: no node has {wanted}: the runs wait until one joins that has"


def do(planned: Planned, place: Place) -> str | None:
    """What a task does: the run in a process of its own, as the local executor does it.

    Returns:
        One line that says why nothing can be done on this node; None when the run has ended.
    """
    if wrong := place.enter():
        return wrong
    # Ray stops a task as Ctrl-C would, which all processes ignore that were started in the background of a script.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not place.gpus:
        # Or all runs would take the first one of a node.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if planned.directory.config.exists():
        # The machine that it was on before may still hold it; if it does not let go, the attempt says so.
        with suppress(UserError), planned.directory.locked(patience=RELEASED):
            pass
    local = Local(workers=1, threads=place.threads)
    deque(local.run([planned], place.study, say=lambda line: None), maxlen=0)
    return None


@contextmanager
def connected(address: str) -> Generator[None]:
    """Be connected to a Ray cluster while the block runs; a connection that is there already is used and kept.

    Raises:
        UserError: There is no cluster at the address, or one of another version.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    if address not in ("auto", "local"):
        _check_answers(address)
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    # What it starts itself sends nothing to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with _own_signals():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"no Ray cluster at executor.address={address}: {reason}; {NO_ANSWER}") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_signals() -> Generator[None]:
    """Ray would end the program on SIGTERM, before runs have saved themselves."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_answers(address: str) -> None:
    """Find out whether anybody listens, for which Ray itself waits minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise UserError(f"executor.address={address} is no address: give auto, local or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"no Ray cluster at executor.address={address}: {reason}; {NO_ANSWER}") from None


@contextmanager
def _proof(study: StudyDirectory) -> Generator[str]:
    """A file in the study's directory, by its name."""
    name = f".ray-{uuid4().hex}.tmp"
    (study.path / name).touch()
    try:
        yield name
    finally:
        (study.path / name).unlink(missing_ok=True)


def _note_outcome(planned: Planned, ended: Any) -> None:
    """Wait until what a task left behind can be seen here, and write down what it could not write itself.

    Raises:
        UserError: The task could do nothing on its node.
    """
    import ray
    from ray.exceptions import RayError

    try:
        wrong = ray.get(ended)
    except RayError as error:
        if not planned.directory.finished():
            planned.fail(f"{type(error).__name__}: {error}")
        return
    if wrong:
        raise UserError(wrong)
    if not _shown(planned):
        planned.fail(f"its node left nothing in '{planned.directory.path}': is it on a disk that all nodes share?")


def _shown(planned: Planned) -> bool:
    end = time.monotonic() + SHOWN
    while not (found := planned.directory.finished() or planned.error.exists()) and time.monotonic() < end:
        time.sleep(1)
    return found


def _stop(tasks: Sequence[Any]) -> None:
    """Ask each to stop, and wait until those under way have saved themselves."""
    import ray

    for task in tasks:
        ray.cancel(task)
    if tasks:
        ray.wait(list(tasks), num_returns=len(tasks))
