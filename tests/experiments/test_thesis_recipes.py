"""The recipes of the thesis on mutual, teacher-free and cross-quality distillation train, on the digits."""

from pathlib import Path
from typing import Any

import pytest

from understudy.experiments.cohort import run_cohort
from understudy.experiments.cohort_settings import resolve_cohort
from understudy.experiments.run import run
from understudy.experiments.settings import Command, resolve

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "data": "digits",
    "device": "cpu",
    "train.epochs": 1,
    "train.batch_size": 64,
    "train.precision": "fp32",
}


@pytest.mark.parametrize(
    "name",
    [
        *(f"fashion-mnist/{name}" for name in ("plain", "tf-kd-calibrated", "tf-kd-both", "tf-kd-published")),
        *(f"imagenet/distillistic-{name}" for name in ("plain", "tf-kd", "cross-quality")),
    ],
)
def test_recipe_trains(name: str, teacher_run: Path, tmp_path: Path) -> None:
    overrides = {**SMALL, "student": "cnn-xs", "out": str(tmp_path / "run")}
    command: Command = "train" if name.endswith("plain") else "distill"
    if name.endswith("cross-quality"):
        # As many times fewer pixels as there.
        overrides |= {"teacher": str(teacher_run), "student.size": 0.5}
    result = run(resolve(command, [ROOT / f"configs/{name}.yaml"], list(overrides.items())), say=lambda line: None)
    assert result["inputs"]["student"] == ([1, 4, 4] if name.endswith("cross-quality") else [1, 8, 8])


@pytest.mark.parametrize("name", ["fashion-mnist/dml", "fashion-mnist/dml-e", "imagenet/distillistic-dml"])
def test_recipe_of_a_cohort_trains(name: str, tmp_path: Path) -> None:
    overrides = {**SMALL, "students": ["cnn-xs"] * 3, "out": str(tmp_path / "run")}
    settings = resolve_cohort([ROOT / f"configs/{name}.yaml"], list(overrides.items()))
    assert settings.mutual.peers == ("probabilities" if name.endswith("dml-e") else "mean")
    assert len(run_cohort(settings, say=lambda line: None)["students"]) == 3


def test_the_weight_of_the_peers_rises_over_the_first_fifth() -> None:
    chosen = resolve_cohort([ROOT / "configs/fashion-mnist/dml.yaml"], []).members[0].method[0]["weight"]
    assert (chosen["start"], chosen["end"], chosen["max_share"]) == (0.0, 0.5, 0.2)
