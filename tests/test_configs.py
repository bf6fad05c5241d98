"""The recipes in configs/: each resolves, names its source and figure, and makes its methods."""

import re
from pathlib import Path

import pytest

from understudy.config import parse_override
from understudy.experiments.cohort_settings import resolve_cohort
from understudy.experiments.settings import RunSettings, resolve
from understudy.methods import METHODS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").rglob("*.yaml"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
# The methods of the table that the CIFAR-100 protocol comes from.
TABLE = ["ab", "at", "cc", "crd", "fsp", "ft", "hint", "kd", "nst", "pkt", "rkd", "sp", "vid"]


def command_for(path: Path) -> str:
    """What the file is for: `train`, `distill` or `mutual`."""
    text = path.read_text(encoding="utf-8")
    return "mutual" if "\nstudents:" in text else "distill" if "\nmethod:" in text else "train"


def resolved(path: Path) -> RunSettings:
    """The settings of a recipe; of several students those of the first."""
    command = command_for(path)
    if command == "mutual":
        return resolve_cohort([path], []).members[0]
    return resolve("distill" if command == "distill" else "train", [path], [])


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_recipe_resolves_and_makes_its_methods(path: Path) -> None:
    settings = resolved(path)
    needing = [chosen["name"] for chosen in settings.method if METHODS.get(chosen["name"]).needs_teacher]
    assert (settings.teacher is not None) == (bool(needing) and command_for(path) == "distill")
    assert settings.label.weight is not None
    for chosen in settings.method:
        made = METHODS.get(chosen["name"])(**{key: value for key, value in chosen.items() if key != "name"})
        assert all(made.weight(term) >= 0 for term in made.terms)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_recipe_names_its_source_and_figure(path: Path) -> None:
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    assert sum(line.startswith("# Source: ") for line in comments) == 1
    assert sum(line.startswith("# Published") for line in comments) == 1


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_command_in_a_recipe_trains_it_or_its_teacher(path: Path) -> None:
    teacher = resolved(path).teacher
    text = path.read_text(encoding="utf-8")
    found = re.search(r"understudy train -c (\S+)(.*)", text)
    if teacher is None and command_for(path) != "train":
        assert f"# Run: understudy {command_for(path)} -c {path.relative_to(ROOT)}\n" in text
        return
    if found is None:
        assert teacher is not None
        assert teacher["pretrained"]
        return
    made = resolve("train", [ROOT / found[1]], [parse_override(pair) for pair in found[2].split()])
    assert made.label.weight in (None, 1)
    if teacher is not None:
        assert made.out == teacher["name"]
        assert made.data["name"] == resolved(path).data["name"]
        assert made.student["name"] != resolved(path).student["name"]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_the_protocol_is_complete(name: str) -> None:
    settings = resolved(ROOT / f"configs/cifar100/{name}.yaml")
    assert [chosen["name"] for chosen in settings.method] == [name]
    plain = resolved(ROOT / "configs/cifar100/plain.yaml")
    assert settings.train == plain.train
    assert settings.data == plain.data
    assert (settings.train.epochs, settings.train.batch_size) == (240, 64)
    assert settings.label.weight == (0.1 if name == "kd" else 1.0)


def test_weights_are_converted() -> None:
    """RepDistiller's -r is the weight of the labels; a warm-up that ends at epoch 20 there counts from 1."""
    weight = resolved(ROOT / "configs/cifar100/dkd/resnet56-resnet20.yaml").method[0]["nontarget_weight"]
    assert (weight["start"], weight["end"], weight["to_epoch"]) == (0.1, 2.0, 19)
    alpha = resolved(ROOT / "configs/hymenoptera/alpha.yaml")
    assert (alpha.label.weight, alpha.method[0]["weight"]) == (0.5, 0.5)
    soft = resolved(ROOT / "configs/imagewoof/soft-ce.yaml")
    assert (soft.label.weight, soft.method[0]["weight"], soft.method[0]["temperature"]) == (0.1, 0.9, 10)
