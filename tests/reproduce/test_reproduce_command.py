"""The command: tables that are trained on small data, gone on with and compared; what it says when data are missing."""

import csv
import json
from pathlib import Path
from typing import Any

import executor_here  # noqa: F401
import numpy as np
import pytest
from click.testing import Result as Outcome
from published_formats import write_cifar
from typer.testing import CliRunner

from understudy.cli import app
from understudy.record import RunDirectory
from understudy.reproduce.outcome import Value
from understudy.reproduce.table import table_names
from understudy.study_record import StudyDirectory

QUICK = ["device=cpu", "train.epochs=1", "executor=here"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def call(*arguments: str) -> Outcome:
    return CliRunner().invoke(app, ["reproduce", *arguments])


def done(*arguments: str) -> str:
    outcome = call(*arguments)
    assert outcome.exit_code == 0, (outcome.stdout, outcome.stderr, outcome.exception)
    return outcome.stdout


def values(out: str) -> dict[tuple[str, str], Value]:
    found = [Value(**each) for each in json.loads(Path(out, "table.json").read_text())["values"]]
    rows = list(csv.DictReader(Path(out, "table.csv").read_text().splitlines()))
    assert [(row["label"], row["column"]) for row in rows] == [(value.label, value.column) for value in found]
    return {(value.label, value.column): value for value in found}


def accuracies(study: str, arm: str, seeds: tuple[int, ...] = (1, 2)) -> list[float]:
    runs = [StudyDirectory(study).run(arm, seed).read_result() for seed in seeds]
    return [100 * run["test"]["accuracy"] for run in runs]


def test_without_a_table_all_are_listed() -> None:
    said = done()
    assert all(name in said for name in table_names())


def test_a_computed_table_is_there_at_once() -> None:
    said = done("seed001-parameters", "out=here")
    assert said.count("23,512,130") == 2
    assert [value.agrees for value in values("here").values()] == [True] * 3


def test_missing_data_and_weights_are_named_with_their_places_and_nothing_is_written() -> None:
    outcome = call("seed001-alpha")
    assert outcome.exit_code == 2
    assert outcome.stderr.count("\n") == 1
    assert "data/hymenoptera_data is missing: put the unpacked hymenoptera_data.zip there" in outcome.stderr
    assert "put resnet50-11ad3fa6.pth into" in outcome.stderr
    assert "put resnet18-f37072fd.pth into" in outcome.stderr
    assert "understudy reproduce seed001-alpha scale=small" in outcome.stderr
    assert list(Path().iterdir()) == []


def test_weights_that_are_there_are_not_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    place.parent.mkdir(parents=True)
    place.touch()
    assert "resnet18" not in call("seed001-alpha").stderr


def test_a_small_table_is_made_compared_and_gone_on_with() -> None:
    words = ["cifar100-same", "scale=small", "rows=[teacher,KD]", "seeds=2", "out=small", *QUICK]
    said = done(*words)
    assert "what can be compared is the sign of a gain" in said
    found = values("small")
    assert {label for label, _ in found} == {"teacher", "student", "KD"}
    kd, student = (accuracies("small/resnet56-resnet20", arm) for arm in ("KD", "student"))
    value = found["KD", "resnet56/resnet20"]
    assert (value.published, value.published_gain) == (70.66, pytest.approx(70.66 - 69.06))
    assert (value.own, value.std, value.n) == pytest.approx((np.mean(kd), np.std(kd, ddof=1), 2))
    assert value.gain == pytest.approx(np.mean(np.subtract(kd, student)))
    # Two seeds of one epoch show no sign, whatever it is.
    half = 12.7062 * np.std(np.subtract(kd, student), ddof=1) / np.sqrt(2)
    assert value.low == pytest.approx(value.gain - half, rel=1e-4)
    shown = "not shown" if value.low <= 0 <= (value.high or 0) else "same" if value.gain > 0 else "opposite"
    assert value.direction == shown
    assert all(each.difference is None for each in found.values())
    teacher = RunDirectory("small/teachers/resnet56")
    assert teacher.read_config()["student"]["name"] == "cnn-m"
    assert found["teacher", "resnet56/resnet20"].own == pytest.approx(100 * teacher.read_result()["test"]["accuracy"])
    before = {path: path.stat().st_mtime_ns for path in Path("small").rglob("result.json")}
    done(*words)
    assert values("small") == found
    assert {path: path.stat().st_mtime_ns for path in Path("small").rglob("result.json")} == before
    # Another row of the same table stands beside those that are there.
    done(*(word.replace("KD", "SP") for word in words))
    more = values("small")
    assert {label for label, _ in more} == {"teacher", "student", "KD", "SP"}
    assert {place: more[place] for place in found} == found
    about = json.loads(Path("small/table.json").read_text())
    assert (about["scale"], about["seeds"], about["settings"]) == ("small", 2, {"device": "cpu", "train.epochs": 1})
    other = call(*words, "train.epochs=2", "columns=[vgg13/vgg8]")
    assert (other.exit_code, other.stderr.count("\n")) == (2, 1)
    assert "choose another out=DIR" in other.stderr


def test_a_table_of_published_data_has_differences(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data", 100)
    columns = "columns=[CIFAR-100 top-1,CIFAR-100 top-5]"
    said = done("seed004-baselines", columns, "rows=[ResNet-20]", "seeds=1", "out=full", *QUICK)
    run = StudyDirectory("full/CIFAR-100-top-1").run("ResNet-20", 1).read_result()
    assert run["student"] == "resnet20"
    for name, key, published in (("top-1", "accuracy", 67.86), ("top-5", "top5", 90.11)):
        value = values("full")["ResNet-20", f"CIFAR-100 {name}"]
        assert value.own == pytest.approx(100 * run["test"][key])
        assert value.difference == pytest.approx(100 * run["test"][key] - published)
        assert f"{value.difference:+.2f}" in said


@pytest.mark.slow
def test_exits_and_pooled_epochs_have_values() -> None:
    done("byot", "scale=small", "seeds=2", "rows=[ResNet-18 alone,'ResNet-18, paper']", "out=exits", *QUICK)
    found = values("exits")
    run = StudyDirectory("exits/runs").run("ResNet-18-paper", 1).read_result()
    other = StudyDirectory("exits/runs").run("ResNet-18-paper", 2).read_result()
    mean = 50 * sum(each["exits"]["test"][0]["accuracy"] for each in (run, other))
    assert found["ResNet-18, paper", "1/4"].own == pytest.approx(mean)
    assert found["ResNet-18, paper", "2/4"].own is None
    assert found["ResNet-18, paper", "4/4"].published_gain == pytest.approx(78.64 - 77.09)
    assert found["ResNet-18 alone", "4/4"].gain is None
    done("seed001-alpha", "scale=small", "seeds=2", "out=pooled", "device=cpu", "train.epochs=2", "executor=here")
    pooled = values("pooled")
    lines: list[dict[str, Any]] = []
    for seed in (1, 2):
        text = StudyDirectory("pooled/runs").run("alpha-0.5", seed).metrics.read_text()
        lines += [line for line in map(json.loads, text.splitlines()) if line["kind"] == "epoch"]
    for column, name in (("loss", "loss"), ("accuracy", "accuracy"), ("logit gap", "gap")):
        measured = [line[f"val.{name}"] for line in lines]
        value = pooled["alpha 0.5", column]
        assert (value.own, value.std, value.n) == pytest.approx((np.mean(measured), np.std(measured, ddof=1), 4))
    assert (pooled["alpha 0.5", "loss"].gain, pooled["alpha 0.5", "teacher"].gain) == (None, None)
    assert pooled["alpha 0.5", "logit gap"].gain is not None


def test_wrong_words() -> None:
    assert "neither full nor small" in call("byot", "scale=tiny").stderr
    assert "did you mean 'byot'" in call("byott").stderr
    misspelt = "executor={name: local, worker: 2}"
    assert "did you mean 'workers'" in call("cifar100-same", "scale=small", misspelt).stderr
    assert "is no list of names" in call("byot", "rows={a: 1}").stderr
