import csv
from pathlib import Path

import pytest
import torch
from exit_toys import random_exits
from sklearn.metrics import roc_auc_score

from understudy.exits.curve import StaticPoint, static_points, tradeoff
from understudy.exits.outcome import replay
from understudy.exits.policy import NEVER, Policy
from understudy.report.exits import save_curve_figure, save_roc_figure, save_score_figure

FOUND = random_exits(300, 2)


def rows_of(path: Path) -> list[dict[str, str]]:
    assert path.stat().st_size > 5000
    return list(csv.DictReader(path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_histograms_count_every_image_once(tmp_path: Path, ending: str) -> None:
    other = random_exits(80, 2, seed=1).logits
    path = save_score_figure(FOUND, Policy.of("entropy", [0.5, NEVER]), tmp_path / f"s.{ending}", ood_logits=other)
    rows = rows_of(path)
    for exit_ in ("exit 1", "exit 2"):
        images = {
            kind: sum(int(r["images"]) for r in rows if (r["exit"], r["kind"]) == (exit_, kind))
            for kind in ("right", "wrong", "OOD")
        }
        right = int(FOUND.correct[int(exit_[-1]) - 1].sum())
        assert images == {"right": right, "wrong": 300 - right, "OOD": 80}


def test_the_roc_has_the_area_that_scikit_learn_finds(tmp_path: Path) -> None:
    policy = Policy.of("margin", [0.5, 0.2])
    rows = rows_of(save_roc_figure(FOUND, policy, tmp_path / "roc.png"))
    doubts = policy.doubts(FOUND.logits)
    for number in range(2):
        points_of = [
            (float(r["false_positive_rate"]), float(r["true_positive_rate"]))
            for r in rows
            if r["exit"] == f"exit {number + 1}"
        ]
        x, y = torch.tensor(points_of, dtype=torch.float64).T
        expected = roc_auc_score(FOUND.correct[number].numpy(), -doubts[number].numpy())
        assert float(torch.trapezoid(y, x)) == pytest.approx(float(expected))


def test_the_curve_and_the_exits_alone_are_written(tmp_path: Path) -> None:
    curve = tradeoff(FOUND)
    test = random_exits(300, 2, seed=3)
    seen = replay(test, [point.policy for point in curve])
    path = save_curve_figure(
        seen,
        static_points(test),
        tmp_path / "curve.png",
        chosen={"budget 60 %": seen[len(seen) // 2]},
        others=[StaticPoint("small", 0.6, 1.5)],
    )
    rows = rows_of(path)
    assert [r["kind"] for r in rows[len(curve) :]] == ["budget 60 %", "exit 1", "exit 2", "main", "small"]
    assert [float(r["accuracy"]) for r in rows[: len(curve)]] == pytest.approx([p.accuracy for p in seen])
    assert rows[0]["threshold 2"] == str(curve[0].policy.thresholds[1])
