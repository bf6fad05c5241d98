"""The comparison at equal accuracy runs, at a tiny size; nothing is said about speed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmarks import exit_students
from torch import Tensor

from understudy.errors import UserError
from understudy.experiments.run import Result


def test_exits_are_as_accurate_as_the_smaller_network(
    digits: Callable[..., Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = {"method": "self-distillation", "student": "resnet14", "student__exits": "auto"}
    digits("distill", tmp_path / "branched", **method, train__epochs=2)
    small = digits("train", tmp_path / "small", student="resnet8", train__epochs=1)
    out = tmp_path / "found.json"
    runs = [str(tmp_path / "branched"), str(tmp_path / "small")]
    exit_students.main([*runs, "--rounds", "1", "--images", "20", "--batches", "4", "--out", str(out)])
    assert "| branched, exits as accurate as small |" in capsys.readouterr().out
    whole, static, exits = json.loads(out.read_text())
    assert static["test"] == pytest.approx(small["test"]["accuracy"])
    assert static["macs"] < whole["macs"]
    assert exits["validation"] >= static["validation"]
    assert exits["macs"] <= whole["macs"]
    assert set(static["ms"]) == {"4"}
    with pytest.raises(UserError, match="is not smaller"):
        exit_students.sides_of(exit_students.Exits(runs[0]), [runs[0]])


def test_each_side_is_kept_in_its_faster_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that grows with the square of a batch is fastest in few images at a time, constant work at once."""
    clock = 0.0

    def spend(seconds: Callable[[int], float]) -> Callable[[Tensor], object]:
        def run(images: Tensor) -> None:
            nonlocal clock
            clock += seconds(len(images))

        return run

    monkeypatch.setattr("benchmarks.timing.cpu_seconds", lambda: clock)
    works = [spend(lambda num: num**2 / 1000), spend(lambda num: 1.0)]
    sides = [exit_students.Side("some", 0.9, 0.9, 1.0, work) for work in works]
    found = exit_students.measure(sides, torch.zeros(64, 1), 64, 1)
    assert [each["median"] for each in found] == pytest.approx([16.0, 1000 / 64])
    assert [each["median"] for each in exit_students.measure(sides, torch.zeros(64, 1), 8, 1)] == pytest.approx(
        [8.0, 125.0]
    )
