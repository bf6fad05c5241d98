from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.errors import UserError
from understudy.experiments.recipes import recipe_for
from understudy.experiments.settings import RunSettings, resolve
from understudy.yaml_file import yaml_text

KD = [("data", "digits"), ("teacher", "runs/teacher"), ("student", "cnn-xs")]


def distill(*overrides: tuple[str, Any], files: tuple[Path, ...] = ()) -> RunSettings:
    return resolve("distill", files, [*KD, *overrides])


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["digits", "cifar100", "fashion-mnist"])
def test_recipe_of_the_data_set_is_the_default(name: str) -> None:
    settings = resolve("train", [], [("data", name), ("model", "cnn-m")])
    recipe = recipe_for(name)
    assert settings.data["augment"] == recipe["data"]["augment"]
    assert settings.train.epochs == recipe["train"]["epochs"]
    assert settings.train.optimizer["lr"] == recipe["train"]["optimizer"]["lr"]


def test_photographs_have_a_recipe_too(image_folder: Path) -> None:
    settings = resolve("train", [], [("data", str(image_folder)), ("model", "resnet20")])
    assert settings.data["name"] == "folder"
    assert settings.data["path"] == str(image_folder)
    assert settings.train.epochs == recipe_for("folder")["train"]["epochs"]


def test_defaults_are_written_out() -> None:
    settings = distill()
    assert settings.method == [{"name": "kd", "temperature": 4.0, "weight": 0.9, "logits": "raw"}]
    assert settings.train.schedule == {
        "name": "onecycle",
        "rise": 0.3,
        "start_factor": 25.0,
        "final_factor": 1e4,
        "cycle_momentum": True,
    }


def test_recipe_then_files_then_overrides(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "train: {epochs: 7, batch_size: 32}\nmethod: {name: kd, temperature: 2}\n")
    second = write(tmp_path / "b.yaml", "train: {batch_size: 16}\n")
    settings = distill(("method.weight", 0.3), files=(first, second))
    assert (settings.train.epochs, settings.train.batch_size) == (7, 16)
    assert settings.method == [{"name": "kd", "temperature": 2.0, "weight": 0.3, "logits": "raw"}]
    assert distill(("train.epochs", 3), files=(first,)).train.epochs == 3


def test_another_component_starts_from_its_own_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "method: {name: kd, weight: 0.123}\n")
    assert distill(("method", "logit-mse"), files=(file,)).method == [
        {"name": "logit-mse", "weight": 0.5, "logits": "raw"}
    ]
    assert distill(("train.optimizer", "sgd")).train.optimizer["lr"] == 0.05


def test_train_leaves_teacher_and_methods_of_a_file_out(tmp_path: Path) -> None:
    file = write(tmp_path / "kd.yaml", yaml.safe_dump(distill().tree()))
    settings = resolve("train", [file], [("out", "runs/plain")])
    assert settings.teacher is None
    assert settings.method == []
    assert settings.label.weight is None


@pytest.mark.parametrize(
    "overrides",
    [(), (("method", ["kd", "logit-mse"]), ("label.weight", 0.2), ("train.ema", 0.9), ("train.schedule", "multistep"))],
)
def test_resolved_settings_resolve_to_themselves(tmp_path: Path, overrides: tuple[tuple[str, Any], ...]) -> None:
    settings = distill(*overrides)
    file = write(tmp_path / "config.yaml", yaml.safe_dump(settings.tree()))
    assert resolve("distill", [file], []).tree() == settings.tree()


def test_out_is_named_after_the_run(image_folder: Path) -> None:
    assert distill(("seed", 3)).out == "runs/digits-cnn-xs-kd-seed3"
    photos = resolve("train", [], [("data", str(image_folder)), ("model", "timm:resnet18")])
    assert photos.out == f"runs/{image_folder.name}-timm-resnet18-plain-seed0"
    assert distill(("method", ["kd", "logit-mse"])).out == "runs/digits-cnn-xs-kd-logit-mse-seed0"


@pytest.mark.parametrize(
    ("left_out", "message"),
    [("data", "'data' is missing"), ("student", "'student' is missing"), ("teacher", "'teacher' is missing")],
)
def test_what_is_missing_is_named_with_an_example(left_out: str, message: str) -> None:
    with pytest.raises(UserError, match=f"{message}: set for example {left_out}="):
        resolve("distill", [], [pair for pair in KD if pair[0] != left_out])


def test_train_calls_its_student_a_model() -> None:
    with pytest.raises(UserError, match="'model' is missing"):
        resolve("train", [], [("data", "digits")])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trains.epochs", 3, "unknown key 'trains'.*'train'"),
        ("train.epoch", 3, r"unknown key 'train.epoch'.*'epochs'"),
        ("train.epochs", "many", r"train\.epochs='many' is not valid"),
        ("train.epochs", 0, r"train\.epochs=0 is not valid"),
        ("train.optimizer.learning_rate", 1, r"train\.optimizer\.learning_rate"),
        ("train.optimizer", "sdg", "unknown optimizer 'sdg'.*'sgd'"),
        ("train.schedule", "cosin", "unknown schedule 'cosin'.*'cosine'"),
        ("train.accumulate", 5, "not a multiple of accumulate 5"),
        ("train.warmup_epochs", 1000, "must be less than epochs"),
        ("train.precision", "fp8", r"train\.precision='fp8'"),
        ("method", "kdd", "unknown method 'kdd'.*'kd'"),
        ("method.temperatures", 2, "temperatures.*'temperature'"),
        ("method.temperature", "hot", r"temperature='hot'"),
        ("label.weight", -1, r"label\.weight=-1"),
        ("label.smoothing", 1.5, r"label\.smoothing=1\.5"),
        ("data", "digit", "'digit'.*'digits'"),
        ("data.validations", 0.1, "validations.*'validation'"),
        ("student.widths", 3, "widths.*'width'"),
        ("teacher.pretrained", "perhaps", "pretrained='perhaps'"),
        ("seed", -1, "seed=-1"),
    ],
)
def test_wrong_settings_are_one_line(key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        distill((key, value))
    assert "\n" not in str(caught.value)


def test_train_says_what_it_leaves_out_of_a_file(tmp_path: Path) -> None:
    chosen = distill(("label.weight", 0.1), ("label.smoothing", 0.2))
    said: list[str] = []
    settings = resolve("train", [write(tmp_path / "kd.yaml", yaml_text(chosen.tree()))], [], say=said.append)
    assert said == ["understudy train learns from labels alone; left out: teacher, method, label.weight"]
    # The baseline of equal budget: all else is the same.
    assert (settings.label.weight, settings.label.smoothing) == (None, 0.2)
    assert settings.train == chosen.train
    said.clear()
    again = resolve("train", [write(tmp_path / "plain.yaml", yaml_text(settings.tree()))], [], say=said.append)
    assert said == []
    assert again == settings
    alone = write(tmp_path / "label.yaml", "label: {weight: 0.5}")
    assert resolve("train", [alone], [("data", "digits"), ("model", "cnn-m")]).label.weight == 0.5


def test_train_leaves_out_the_exits_of_a_file(tmp_path: Path) -> None:
    """The baseline of self-distillation is the network alone; what a model file brings with it stays."""
    preset = write(
        tmp_path / "own.yaml", "student: {name: resnet8, exits: 2, exit_heads: linear}\nmethod: self-distillation"
    )
    said: list[str] = []
    settings = resolve("train", [preset], [("data", "digits")], say=said.append)
    assert said == ["understudy train learns from labels alone; left out: method, student.exits"]
    plain = resolve("train", [], [("data", "digits"), ("student", "resnet8")])
    assert settings.student == plain.student
    assert resolve("distill", [preset], [("data", "digits")]).student["exits"] == 2


def test_a_ramp_may_be_set_key_by_key() -> None:
    ramps = (("method.kd.weight.start", 4), ("method.kd.weight.end", 1))
    assert distill(*ramps).tree() == distill(("method.kd.weight", {"start": 4, "end": 1})).tree()
    with pytest.raises(
        UserError, match="weight='heavy' is not valid: give a number or a mapping with start, end, shape"
    ):
        distill(("method.weight", "heavy"))
