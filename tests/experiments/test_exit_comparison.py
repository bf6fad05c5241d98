"""The comparison of seed 000, at a tiny size."""

import csv
import statistics
from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli import app


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compare(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(app, ["exits", "compare", "data=digits", "device=cpu", *arguments])
    return outcome.exit_code, outcome.output


def test_every_exit_of_every_run_and_paired_differences(tmp_path: Path) -> None:
    arguments = ["train.epochs=1", "models=[cnn-s,resnet8]", "exits=layer1", "seeds=2", f"out={tmp_path}"]
    code, shown = compare(*arguments)
    assert code == 0, shown
    found = rows(tmp_path / "accuracies.csv")
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
    assert "distilled - base" in shown
    assert "2 seeds" in shown
    student = tmp_path / "cnn-s-base-1" / "student.safetensors"
    written = student.stat().st_mtime_ns
    assert compare(*arguments)[0] == 0
    assert student.stat().st_mtime_ns == written
    assert rows(tmp_path / "accuracies.csv") == found


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seeds=1", "seeds=1 is not valid"),
        ("models=[]", "models=[] is not valid"),
        ("method=kd", "method differs between the runs"),
        ("exit=2", "unknown key 'exit'"),
    ],
)
def test_wrong_settings_are_one_line(setting: str, words: str, tmp_path: Path) -> None:
    code, shown = compare(setting, f"out={tmp_path / 'out'}")
    assert code == 2
    assert words in shown.replace("\n", " ")
    assert not (tmp_path / "out").exists()
