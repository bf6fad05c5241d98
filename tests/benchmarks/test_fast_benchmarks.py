"""The benchmarks of the fast path run, at a tiny size; nothing is said about speed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from benchmarks import accuracy, processes, scale, speed
from benchmarks.turns import Floor, Held, Loop, Turns
from child_processes import finish, run_pair, start

ROOT = Path(__file__).parents[2]
TINY = ["--images", "random", "--teacher", "random", "--batch", "4"]


def test_speed_compares_all_rows_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.json"
    rows = ["textbook KD", "live, bf16", "cached, bf16", speed.BARE]
    speed.main([*TINY, "--rounds", "2", "--steps", "1", "--rows", *rows, "--out", str(out)])
    found = json.loads(out.read_text())
    assert list(found["rows"]) == rows
    assert list(found["shares"]) == ["whole trainer over its bare step, bf16"]
    assert all(row["cpu_ms_per_step"]["median"] > 0 for row in found["rows"].values())
    assert "| textbook KD |" in capsys.readouterr().out


class Numbers:
    """A loader of three batches."""

    def __len__(self) -> int:
        return 3

    def batches(self, epoch: int, start: int = 0) -> Iterator[int]:
        yield from range(start, 3)


def note_steps(path: Path) -> Loop:
    """A loop that notes its batches."""

    def loop(floor: Floor) -> None:
        held = Held(Numbers(), floor)
        for epoch in range(10):
            for batch in held.batches(epoch):
                path.write_text(path.read_text() + str(batch))

    return loop


def test_loops_take_turns(tmp_path: Path) -> None:
    turns = Turns(steps=4)
    for name in ("a", "b"):
        (tmp_path / name).touch()
        turns.add(name, note_steps, tmp_path / name)
        assert (tmp_path / name).read_text() == "0120"
    turns.run(2)
    # The first turn does not count.
    assert {name: len(spent) for name, spent in turns.spent.items()} == {"a": 2, "b": 2}
    assert [(tmp_path / name).read_text() for name in ("a", "b")] == ["012012012012"] * 2


def test_accuracy_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "digits.json"
    common = ["digits", "--epochs", "1", "--arms", "bf16, fresh views", "--out", str(out)]
    with pytest.raises(ValueError, match="at least two"):
        accuracy.main([*common, "--seeds", "1"])
    first = json.loads(out.read_text())["accuracy"]
    accuracy.main([*common, "--seeds", "2"])
    both = json.loads(out.read_text())["accuracy"]
    assert all(len(values) == 2 and values[:1] == first[name] for name, values in both.items())
    assert "| fp32, fresh views |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="holds other runs"):
        accuracy.main([*common, "--seeds", "3", "--count", "5"])


def test_scale_measures_and_computes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scale.json"
    scale.main(["--batch", "2", "--rounds", "1", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["measured"]["bytes_all"] == 4 + 2 * scale.CLASSES
    assert found["measured"]["bytes_top16"] == 4 + 16 * 4 + 17 * 2
    assert set(found["computed"]) == {case.name for case in scale.CASES}
    assert "| teacher |" in capsys.readouterr().out


def test_the_teacher_is_asked_for_each_view_once_in_what_is_computed() -> None:
    rate = dict.fromkeys(["student_step", "decode_and_crop", "teacher", "write_all", "read_all", "bytes_all"], 1.0)
    found = scale.compute(rate, scale.Case("", 3600, 10, 2, None))
    assert found == {
        "student_core_hours": 20,
        "teacher_each_step_core_hours": 10,
        "teacher_cached_core_hours": 2,
        "cache_core_hours": 12,
        "cache_gb": 7200 / 1e9,
    }


def main_of(*arguments: str) -> None:
    processes.main(arguments)


def cpu_of_forks(commands: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Starting twelve processes takes a minute, and what torchrun does is seen elsewhere."""
    steps = int(commands[0][commands[0].index("--steps") + 1])
    # The shorter run is the same with fewer steps.
    for command in commands if steps > 1 else []:
        inner = command[command.index("benchmarks.processes") + 1 :]
        if "torch.distributed.run" in command:
            run_pair(main_of, *inner, TORCHELASTIC_RUN_ID=command[command.index("--rdzv-id") + 1])
        else:
            assert finish(start(main_of, *inner)) == [0]
    return float(steps), float(steps)


def test_two_processes_are_compared_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cpu_of", cpu_of_forks)
    out = tmp_path / "processes.json"
    processes.main([*TINY, "--few", "1", "--many", "2", "--rounds", "1", "--warm", "0", "--out", str(out)])
    found = json.loads(out.read_text())
    assert {name: len(runs) for name, runs in found["runs"].items()} == {"one": 1, "two together": 1, "two apart": 1}


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_without_one(tmp_path: Path) -> None:
    environment = {**os.environ, "DEVICE": "cpu", "OUT": str(tmp_path), "PYTHON": sys.executable, "BATCHES": "4"}
    subprocess.run(["sh", "benchmarks/gpu.sh"], cwd=ROOT, env=environment, check=True, timeout=300)
    assert "cached, bf16" in json.loads((tmp_path / "speed-4.json").read_text())["rows"]
