"""Two machines of a Ray cluster, played by two raylets on this one."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from child_processes import finish, start

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


class Nodes(NamedTuple):
    """The address of the head, and each node's raylet."""

    address: str
    raylets: list[int]


@contextlib.contextmanager
def two_nodes(folder: Path) -> Generator[Nodes]:
    """A cluster that is gone afterwards, with all its processes."""
    told = folder / "nodes.json"
    # Sockets are below it, whose names must be short.
    temporary = tempfile.mkdtemp(prefix="ray")
    process = start(serve, told, RAY_TMPDIR=temporary, RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    try:
        while not told.exists():
            process.join(0.1)
            assert process.is_alive(), (folder / "nodes.txt").read_text()
        yield Nodes(**json.loads(told.read_text()))
    finally:
        process.terminate()
        finish(process, seconds=30)
        kill(_of_cluster(temporary))
        shutil.rmtree(temporary, ignore_errors=True)


def serve(told: Path) -> None:
    """Start a cluster and keep it until SIGTERM."""
    log = told.with_suffix(".txt").open("w")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    # So that the workers find what the tests test.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    # As under nohup.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from ray.cluster_utils import Cluster

    head = {**SMALL, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    other = cluster.add_node(**SMALL)
    cluster.wait_for_nodes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in (cluster.head_node, other)]
    part = told.with_suffix(".part")
    part.write_text(json.dumps({"address": cluster.address, "raylets": raylets}))
    part.rename(told)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    stopped.wait()
    cluster.shutdown()


def ancestors(pid: int) -> list[int]:
    """A process, its parent, and so on."""
    found: list[int] = []
    while pid > 1:
        found.append(pid)
        pid = _parents().get(pid, 0)
    return found


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    parents, found = _parents(), [pid]
    for above in found:
        found += [child for child, parent in parents.items() if parent == above]
    return found


def kill(pids: list[int]) -> None:
    """As when the power goes, the first before the others."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _of_cluster(temporary: str) -> list[int]:
    """Its processes, which have inherited where its files are."""
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"RAY_TMPDIR={temporary}\0".encode() in place.read_bytes():
                found.append(int(place.parts[2]))
    return found


def _parents() -> dict[int, int]:
    found: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(place.parts[2])] = int(place.read_text().rpartition(")")[2].split()[1])
    return found
