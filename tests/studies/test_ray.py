"""Studies on a Ray cluster of two nodes."""

import os
import signal
import time
from collections.abc import Callable, Generator
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from child_processes import TIMEOUT, command_in, finish, start
from quick_studies import Studies, children_in, times
from ray_nodes import Nodes, ancestors, descendants, kill, two_nodes

from understudy.record import RunDirectory
from understudy.studies.executors.ray import Place, do
from understudy.study_record import StudyDirectory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray"),
]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Generator[Nodes]:
    with two_nodes(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def command(study: Studies, nodes: Nodes, *more: str) -> list[str]:
    common = ["data=digits", "student=cnn-xs", "device=cpu", "train.optimizer.lr=0.01", "method=kd", "cache=off"]
    # A relative path, as users give it: the workers start elsewhere.
    where = ["out=study", f"teacher={study.teacher}"]
    return ["study", *common, *where, "executor=ray", f"executor.address={nodes.address}", "seeds=2", *more]


def runs(study: Studies) -> list[RunDirectory]:
    directory = StudyDirectory(study.out)
    return [directory.run(arm, seed) for seed in (1, 2) for arm in ("plain", "kd")]


def test_a_stopped_study_goes_on_and_a_node_that_dies_loses_nothing(study: Studies, nodes: Nodes) -> None:
    folder, said = study.out.parent, study.out.parent / "said.txt"
    arguments = command(study, nodes, "train.epochs=40")
    process = start(command_in, folder, said, *arguments)
    first, second, *others = runs(study)
    # One on each node.
    until(lambda: all(run.last.exists() and children_in(run) for run in (first, second)), process, said)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == [130], said.read_text()
    assert [run.finished() for run in (first, second, *others)] == [False] * 4
    assert not any(children_in(run) for run in runs(study))
    for run in (first, second):
        assert "the same command goes on" in run.path.with_name("seed1.log").read_text()
        assert run.last.exists()

    process = start(command_in, folder, said, *arguments)
    # One of the second round, so that some are finished.
    until(lambda: first.finished() and second.finished() and on_node(others, nodes.raylets[1]), process, said)
    before = {run.path: times(run.path) for run in (first, second)}
    (lost,) = on_node(others, nodes.raylets[1])
    kill(descendants(nodes.raylets[1]))
    steps = checkpointed(lost)
    assert finish(process) == [0], said.read_text()
    summary = StudyDirectory(study.out).read_summary()
    assert [[run["seed"] for run in arm["runs"]] for arm in summary["arms"]] == [[1, 2], [1, 2]]
    assert (summary["finished"], summary["failed"]) == (4, [])
    assert {path: times(path) for path in before} == before
    assert f"going on at step {steps} of " in lost.path.with_name("seed2.log").read_text()
    assert "nodes: 2, CPUs: 2" in said.read_text()


def until(condition: Callable[[], object], process: BaseProcess, said: Path) -> None:
    """Wait for something to happen in a study that goes on meanwhile."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert process.is_alive(), said.read_text()
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.05)


def on_node(found: list[RunDirectory], raylet: int) -> list[RunDirectory]:
    """The runs that a node does and that have a checkpoint."""
    return [run for run in found if run.last.exists() and any(raylet in ancestors(pid) for pid in children_in(run))]


def checkpointed(run: RunDirectory) -> int:
    """The step of the newest checkpoint."""
    from understudy.engine.checkpoint import load_checkpoint

    return load_checkpoint(run.last)["step"]


def test_a_node_that_does_not_see_the_study_is_named_in_one_line(study: Studies, tmp_path: Path) -> None:
    found = study(("method", "kd"), ("seeds", 1))
    elsewhere = Place(str(tmp_path / "absent"), found.directory, "proof", 1)
    no_proof = Place(str(tmp_path), found.directory, "proof", 1)
    for place, name in ((elsewhere, "absent"), (no_proof, "study")):
        wrong = do(found.runs()[0], place)
        assert wrong is not None
        assert name in wrong
        assert "\n" not in wrong
    assert not found.runs()[0].directory.path.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["executor.address=127.0.0.1:1"], "no Ray cluster at executor.address=127.0.0.1:1"),
        (["executor.address=here"], "give auto, local or HOST:PORT"),
        (["executor.num_cpus=0"], "executor.num_cpus=0 must be at least 1"),
    ],
)
def test_what_is_wrong_is_one_line(settings: list[str], message: str, study: Studies) -> None:
    said = study.out.parent / "said.txt"
    process = start(command_in, study.out.parent, said, *command(study, Nodes("auto", []), *settings))
    assert finish(process) == [2]
    assert [line for line in said.read_text().splitlines() if line.startswith("error: ") and message in line]
