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

from understudy.engine.checkpoint import load_checkpoint
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
    found = runs(study)
    until(lambda: under_way(found), process, said)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == [130], said.read_text()
    assert not any(run.finished() or children_in(run) for run in found)
    stopped = [run for run in found if run.last.exists()]
    assert stopped
    assert all("the same command goes on" in log(run) for run in stopped)

    process = start(command_in, folder, said, *arguments)
    second = nodes.raylets[1]
    until(lambda: any(run.finished() for run in found) and under_way(found, second), process, said)
    before = {run.path: times(run.path) for run in found if run.finished()}
    (lost,) = under_way(found, second)
    kill(descendants(second))
    step = load_checkpoint(lost.last)["step"]
    assert finish(process) == [0], said.read_text()
    summary = StudyDirectory(study.out).read_summary()
    assert [[run["seed"] for run in arm["runs"]] for arm in summary["arms"]] == [[1, 2], [1, 2]]
    assert (summary["finished"], summary["failed"]) == (4, [])
    assert {path: times(path) for path in before} == before
    assert f"going on at step {step} of " in log(lost)
    assert "nodes: 2, CPUs: 2" in said.read_text()


def until(condition: Callable[[], object], process: BaseProcess, said: Path) -> None:
    """Wait for something to happen in a study that goes on meanwhile."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert process.is_alive(), said.read_text()
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.05)


def under_way(found: list[RunDirectory], raylet: int = 0) -> list[RunDirectory]:
    """The runs that somebody does, or that a node does, and that have a checkpoint."""
    return [
        run
        for run in found
        if run.last.exists() and any(raylet in (0, *ancestors(pid)) for pid in children_in(run)) and not run.finished()
    ]


def log(run: RunDirectory) -> str:
    """What a run said in its last attempt."""
    return run.path.with_name(f"{run.path.name}.log").read_text()


def test_a_node_that_does_not_see_the_study_is_named_in_one_line(study: Studies, tmp_path: Path) -> None:
    found = study(("method", "kd"), ("seeds", 1))
    elsewhere = Place(str(tmp_path / "absent"), found.directory, "proof", 1, gpus=False)
    no_proof = Place(str(tmp_path), found.directory, "proof", 1, gpus=False)
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
