"""The benchmark of data loading runs, at a tiny size; nothing is said about speed."""

import re
from pathlib import Path

import pytest
from benchmarks import loading

from understudy.errors import UserError

TINY = ["--size", "16", "--steps", "2", "--batches", "2,4"]


def test_prints_a_line_for_each_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    loading.main([*TINY, "--count", "20", "--workers", "0,1"])
    header, rule, *lines = capsys.readouterr().out.splitlines()
    assert header == "| images per second | batch 2 | batch 4 |"
    assert rule == "|---|---|---|"
    assert [re.sub(r"\d+ \|", "N |", line) for line in lines] == ["| 0 workers | N | N |", "| 1 workers | N | N |"]
    assert all(int(number) > 0 for line in lines for number in re.findall(r"(\d+) \|", line))


def test_measures_a_folder_of_ones_own(image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loading.main([*TINY, "--images", str(image_folder), "--workers", "0"])
    assert "| 0 workers |" in capsys.readouterr().out
    with pytest.raises(UserError):
        loading.main([*TINY, "--images", str(image_folder / "missing"), "--workers", "0"])
