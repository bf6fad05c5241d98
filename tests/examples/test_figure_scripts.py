"""The scripts behind the figures run, at a tiny size."""

import csv
from pathlib import Path

import pytest
from examples import size_sweep, virtual_teachers


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_size_sweep_has_a_line_for_each_run_and_repeats_nothing(tmp_path: Path) -> None:
    arguments = ["train.epochs=1", "--sizes", "3,8", "--seeds", "1", "--out", str(tmp_path)]
    size_sweep.main(arguments)
    found = rows(tmp_path / "size_sweep.csv")
    assert [(row["method"], row["size"]) for row in found] == [
        (method, size) for size in ("3", "8") for method in ("plain", "kd", "dml")
    ]
    assert all(float(row["seconds"]) > 0 and 0 <= float(row["ece"]) <= 1 for row in found)
    assert (tmp_path / "size_sweep.png").stat().st_size > 1000
    size_sweep.main([*arguments, "--methods", "plain"])
    assert rows(tmp_path / "size_sweep.csv") == [row for row in found if row["method"] == "plain"]


def test_size_sweep_knows_its_methods(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        size_sweep.main(["--methods", "plain,kdd"])
    assert "'kdd' is none of plain, kd, dml" in capsys.readouterr().err


def test_virtual_teachers_finds_the_optima(tmp_path: Path) -> None:
    virtual_teachers.main(["train.epochs=1", "--seeds", "1", "--out", str(tmp_path)])
    found = rows(tmp_path / "virtual_teachers.csv")
    assert [row["free_logit_optimum"] for row in found] == ["1.0", "0.95", "0.6064", "0.7468", "0.552"]
    assert (tmp_path / "virtual_teachers.png").stat().st_size > 1000
