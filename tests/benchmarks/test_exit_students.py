"""The comparison at equal accuracy runs, at a tiny size; nothing is said about speed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import exit_students

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
