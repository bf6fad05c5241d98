"""The benchmark of early exits runs, at a tiny size; nothing is said about speed."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks import exits


def test_the_planted_mix_is_exact() -> None:
    assert torch.bincount(exits.plan_of(20)).tolist() == [9, 5, 3, 3]
    assert torch.bincount(exits.plan_of(160)).tolist() == [72, 40, 24, 24]


def test_exits_writes_a_table_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "SMALLER", ("resnet8",))
    out = tmp_path / "found.json"
    exits.main(["--rounds", "1", "--images", "4", "--batches", "2", "--out", str(out)])
    assert "| resnet8, no exits |" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["batches"]["2"]["ideal"] > 1.5


def test_a_network_without_exits_goes_at_once_and_as_stages_do() -> None:
    seen: list[int] = []
    model = torch.nn.Identity()
    model.register_forward_hook(lambda _, given, output: seen.append(len(given[0])))
    loops = exits.without_exits("small", model, torch.zeros(80, 1).split(40))
    assert list(loops) == ["small", "small, 16 at a time"]
    for loop in loops.values():
        loop()
    assert seen == [40, 40, 16, 16, 16, 16, 16]
    assert list(exits.without_exits("small", model, torch.zeros(32, 1).split(16))) == ["small"]
