"""Recipes whose methods stand in no published table of ours, and the regimes of FitNets: they train, on the digits."""

import json
from pathlib import Path

import pytest

from understudy.experiments.run import Result, run
from understudy.experiments.settings import resolve

ROOT = Path(__file__).parents[2]
REGIMES = {
    "wangjiongw-fitnets": (["fitnets_hint"], ["ce", "fitnets_kd"]),
    "wangjiongw-fitnets-labels-labels": (["ce"], ["ce"]),
    "wangjiongw-fitnets-labels-kd": (["ce"], ["ce", "fitnets_kd"]),
    "wangjiongw-hint": (["ce", "hint"],),
    "wangjiongw-hint-kd": (["ce", "hint", "soft_ce"],),
}
OTHERS = [
    *(f"cifar100/{name}" for name in ("wangjiongw-mimic", "mlkd", "simkd", "ickd-c", "kdsvd")),
    *("cifar10/at-gradient", "imagenet/wsld"),
]


def run_recipe(name: str, teacher: Path, out: Path) -> Result:
    """One epoch a stage, with the method and the label loss as the recipe has them."""
    path = ROOT / f"configs/{name}.yaml"
    overrides = {"data": "digits", "teacher": str(teacher), "student": "cnn-xs", "device": "cpu", "out": str(out)}
    overrides |= {"train.epochs": 1, "train.optimizer": "adamw", "train.schedule": "constant"}
    if "fitnets" in name:
        overrides["method.hint_epochs"] = 1
    return run(resolve("distill", [path], list(overrides.items())), say=lambda line: None)


@pytest.mark.parametrize("name", REGIMES)
def test_regimes_of_fitnets_have_their_terms_in_each_stage(name: str, teacher_run: Path, tmp_path: Path) -> None:
    run_recipe(f"cifar100/{name}", teacher_run, tmp_path / "run")
    epochs = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    terms = [
        sorted(key.split(".")[1] for key in epoch if key.startswith("train.") and key.endswith(".raw"))
        for epoch in epochs
        if epoch["kind"] == "epoch"
    ]
    assert terms == list(REGIMES[name])


@pytest.mark.parametrize("name", OTHERS)
def test_recipe_trains(name: str, teacher_run: Path, same_width_run: Path, tmp_path: Path) -> None:
    run_recipe(name, same_width_run if name.endswith("kdsvd") else teacher_run, tmp_path / "run")
    assert (tmp_path / "run/result.json").exists()


@pytest.fixture(scope="module")
def same_width_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher as wide as the student, for methods without an adapter."""
    out = tmp_path_factory.mktemp("same-width") / "run"
    chosen = {"data": "digits", "model": "cnn-xs", "device": "cpu", "train.epochs": 2, "out": str(out)}
    run(resolve("train", [], list(chosen.items())), say=lambda line: None)
    return out
