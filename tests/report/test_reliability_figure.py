import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.evaluation.predictions import Predictions
from understudy.evaluation.summary import summarise
from understudy.report.reliability import reliability_panels, save_reliability_figure


@pytest.fixture
def split() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    found = Predictions(2 * torch.randn(300, 6, generator=generator), torch.randint(6, (300,), generator=generator))
    return summarise(found, list("abcdef"), temperature=2.0)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_numbers_behind_the_figure(tmp_path: Path, ending: str, split: dict[str, Any]) -> None:
    path = save_reliability_figure({"student": split, "scaled": split["temperature"]}, tmp_path / f"r.{ending}")
    assert path.stat().st_size > 5000
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    filled = [row for row in split["reliability"] if row["images"]]
    student = [row for row in rows if row["model"] == "student"]
    assert [{key: float(row[key]) for key in filled[0]} for row in student] == filled
    assert {row["model"] for row in rows} == {"student", "scaled"}
    for row in rows:
        low, high = float(row["calibrated_low"]), float(row["calibrated_high"])
        assert 0 <= low <= float(row["confidence"]) <= high <= 1
        images, confidence = int(row["images"]), float(row["confidence"])
        counts = range(math.ceil(low * images - 1e-9), math.floor(high * images + 1e-9) + 1)
        inside = sum(math.comb(images, k) * confidence**k * (1 - confidence) ** (images - k) for k in counts)
        assert inside >= 0.95 - 1e-9


def test_panels_are_of_the_split_that_is_reported(split: dict[str, Any]) -> None:
    other = {**split, "images": 0}
    record = {"teacher": None, "splits": {"val": other, "test": split}}
    assert reliability_panels(record) == {"model": split, "model, T = 2.00": split["temperature"]}
    taught = {**record, "teacher": {"splits": {"val": other}}}
    assert list(reliability_panels(taught)) == ["student", "student, T = 2.00", "teacher", "teacher, T = 2.00"]
    assert reliability_panels(taught)["teacher"] is other
    plain = {"teacher": None, "splits": {"test": {**split, "temperature": None}}}
    assert list(reliability_panels(plain)) == ["model"]
