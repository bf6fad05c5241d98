"""The comparison of seed 000, at a tiny size."""

import csv
import statistics
from pathlib import Path

import pytest
from examples import exits_comparison


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_exit_of_every_run_and_paired_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train.epochs=1", "device=cpu", "--models", "cnn-s,resnet8", "--exits", "layer1", "--seeds", "2"]
    exits_comparison.main([*arguments, "--out", str(tmp_path)])
    found = rows(tmp_path / "exits_comparison.csv")
    assert [(row["way"], row["exit"]) for row in found[:5]] == [
        ("base", "main"),
        ("branches", "1"),
        ("branches", "main"),
        ("distilled", "1"),
        ("distilled", "main"),
    ]
    assert len(found) == 2 * 2 * 5
    differences = rows(tmp_path / "differences.csv")
    assert len(differences) == 2 * 4
    by_seed = [
        [float(r["accuracy"]) for r in found if (r["model"], r["way"], r["exit"]) == ("resnet8", way, "1")]
        for way in ("distilled", "branches")
    ]
    expected = [a - b for a, b in zip(*by_seed, strict=True)]
    (early,) = (row for row in differences if (row["model"], row["exit"]) == ("resnet8", "1"))
    assert float(early["mean"]) == pytest.approx(statistics.mean(expected))
    assert float(early["std"]) == pytest.approx(statistics.stdev(expected))
    # Student's t of one degree of freedom.
    assert float(early["high"]) - float(early["mean"]) == pytest.approx(
        12.706 * statistics.stdev(expected) / 2**0.5, rel=1e-3
    )
    shown = capsys.readouterr().out
    assert "distilled - base" in shown
    assert "2 seeds" in shown
    exits_comparison.main([*arguments, "--out", str(tmp_path)])
    assert rows(tmp_path / "exits_comparison.csv") == found


def test_one_seed_has_no_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        exits_comparison.main(["--seeds", "1"])
    assert "1 is too few for a deviation: give 2 or more" in capsys.readouterr().err
