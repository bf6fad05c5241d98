from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import Field

from understudy.config import (
    Settings,
    Shape,
    Tree,
    assign,
    complete,
    layered,
    merge,
    parse_override,
    settings_of,
    validated,
)
from understudy.errors import UserError
from understudy.yaml_file import read_yaml

SHAPE = Shape(
    components=frozenset({"student", "train.optimizer"}), lists=frozenset({"method"}), aliases={"model": "student"}
)


def kd(*, temperature: float = 4.0, weight: float = 0.9) -> None: ...


def attention(*, weight: float = 1000.0, pairs: list[str] | None = None) -> None: ...


def sgd(parameters: object, *, lr: float, momentum: float = 0.9, nesterov: bool = False) -> None: ...


METHODS: dict[str, Callable[..., None]] = {"kd": kd, "at": attention}


class Train(Settings):
    epochs: int = Field(default=30, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"


class Run(Settings):
    name: str = "run"
    train: Train = Train()


def laid(*layers: Tree, overrides: Sequence[str] = ()) -> Tree:
    return layered({}, layers, [parse_override(text) for text in overrides], SHAPE)


def completed(tree: Tree) -> Tree:
    """Every method with its defaults written out."""

    def settings(method: Tree) -> Tree:
        given = {key: value for key, value in method.items() if key != "name"}
        return complete(METHODS[method["name"]], given, f"method.{method['name']}")

    return {**tree, "method": [{"name": method["name"], **settings(method)} for method in tree["method"]]}


KD_FILE: Tree = {"method": {"name": "kd", "weight": 0.5, "temperature": 2}}


@pytest.mark.parametrize("override", ["method=at", "method=[at]", "method={name: at}", "method.name=at"])
def test_another_method_drops_the_settings_of_the_old_one(override: str) -> None:
    assert completed(laid(KD_FILE, overrides=[override]))["method"] == [{"name": "at", "weight": 1000.0, "pairs": None}]


@pytest.mark.parametrize("override", ["method=kd", "method=[kd]", "method={name: kd}", "method.name=kd"])
def test_naming_the_same_method_again_keeps_its_settings(override: str) -> None:
    assert laid(KD_FILE, overrides=[override])["method"] == [KD_FILE["method"]]


@pytest.mark.parametrize("second", [{"method": "at"}, {"method": {"name": "at"}}, {"method": ["at"]}])
def test_a_later_file_drops_them_too(second: Tree) -> None:
    assert laid(KD_FILE, second)["method"] == [{"name": "at"}]


@pytest.mark.parametrize("override", ["train.optimizer=adamw", "train.optimizer.name=adamw"])
def test_single_component_drops_its_settings_with_its_name(override: str) -> None:
    file: Tree = {"train": {"epochs": 3, "optimizer": {"name": "sgd", "lr": 0.1}}}
    assert laid(file, overrides=[override])["train"] == {"epochs": 3, "optimizer": {"name": "adamw"}}


def test_settings_without_a_name_belong_to_the_chosen_component() -> None:
    file: Tree = {"method": {"weight": 0.3}, "train": {"optimizer": {"lr": 0.2}}}
    base: Tree = {"method": "kd", "train": {"optimizer": {"name": "sgd", "momentum": 0.5}}}
    assert laid(base, file) == {
        "method": [{"name": "kd", "weight": 0.3}],
        "train": {"optimizer": {"name": "sgd", "momentum": 0.5, "lr": 0.2}},
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=at", "method.weight=5", "student=cnn", "student.width=3"],
        ["method.name=at", "method.weight=5", "student.name=cnn", "student.width=3"],
        ["method=[kd,at]", "method.at.weight=5", "student.name=cnn", "student.width=3"],
    ],
)
def test_order_of_overrides_does_not_matter(overrides: list[str]) -> None:
    file: Tree = {**KD_FILE, "student": {"name": "resnet", "width": 64, "depth": 8}}
    expected = laid(file, overrides=overrides)
    assert expected["method"][-1] == {"name": "at", "weight": 5}
    assert expected["student"] == {"name": "cnn", "width": 3}
    assert all(laid(file, overrides=order) == expected for order in permutations(overrides))


def test_same_override_twice_takes_the_last() -> None:
    assert laid(overrides=["seed=1", "seed=2"]) == {"seed": 2}


def test_list_of_methods_with_settings_by_name() -> None:
    file: Tree = {"method": [{"name": "kd", "temperature": 2}, "at"]}
    tree = laid(file, overrides=["method.at.weight=7", "method.kd.weight=0.1"])
    assert tree["method"] == [{"name": "kd", "temperature": 2, "weight": 0.1}, {"name": "at", "weight": 7}]
    assert laid(file, overrides=["method=[at,kd]"])["method"] == [{"name": "at"}, {"name": "kd", "temperature": 2}]
    assert laid(file, overrides=["method=null"])["method"] == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=[kd,at]", "method.weight=1"], r"'method' holds several components \(kd, at\): name the one meant"),
        (["method=[]", "method.weight=1"], "no component is chosen for 'method': name one first"),
        (["method=kd", "method.at.weight=1"], r"'method.at.weight': there is no 'at' among the chosen ones \(kd\)"),
        (["method=[{weight: 3}]"], "every entry of 'method' needs a name"),
        (["method=[kd,null]"], "every entry of 'method' needs a name"),
    ],
)
def test_ambiguous_methods_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        laid(overrides=overrides)


def test_alias_is_another_name_of_a_key() -> None:
    base: Tree = {"student": {"name": "cnn", "width": 3}}
    assert laid(base, {"model": {"width": 4}}, overrides=["model.depth=2"]) == {
        "student": {"name": "cnn", "width": 4, "depth": 2}
    }
    assert laid(base, {"model": "resnet"}) == {"student": {"name": "resnet"}}
    assert laid({"train": {"model": 1}}) == {"train": {"model": 1}}


def test_layers_are_not_changed() -> None:
    base: Tree = {"method": [{"name": "kd", "weight": 1}], "student": {"name": "cnn", "mean": [0.5]}}
    merged = assign(merge(base, {}, SHAPE), "method.kd.weight", 2, SHAPE)
    merged["student"]["mean"].append(0.1)
    assert base == {"method": [{"name": "kd", "weight": 1}], "student": {"name": "cnn", "mean": [0.5]}}


def test_null_takes_a_component_away() -> None:
    assert laid({"student": {"name": "cnn", "width": 3}}, overrides=["student=null"]) == {"student": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5E+2", 500.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("-.inf", float("-inf")),
        ("7", 7),
        ("-0", 0),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("010", "010"),
        ("08", "08"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("1.2.3", "1.2.3"),
        ("a=b", "a=b"),
        ("'7'", "7"),
        ("[1e-3, no]", [1e-3, "no"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    key, found = parse_override(f"train.lr={text}")
    assert key == "train.lr"
    assert found == value
    assert type(found) is type(value)


def test_leading_zeros_are_a_name_or_a_number_as_wanted() -> None:
    values = laid(overrides=["name=010", "train.epochs=010"])
    assert validated(Run, values) == Run(name="010", train=Train(epochs=10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.lr", "'train.lr' is not of the form key=value"),
        ("=3", "'=3' is not of the form key=value"),
        ("train..lr=3", "is not of the form key=value"),
        ("train.lr=[1", "the value of 'train.lr' is not valid YAML"),
        ("train.lr=!!python/name:os.system", "the value of 'train.lr' is not valid YAML"),
    ],
)
def test_bad_override_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_override(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trane": {}}, "unknown key 'trane': did you mean 'train'?"),
        ({"train": {"epoch": 3}}, "unknown key 'train.epoch': did you mean 'epochs'?"),
        ({"train": {"zzz": 3}}, "unknown key 'train.zzz': choose from epochs, precision"),
        ({"train": {"epochs": "many"}}, "train.epochs='many' is not valid: input should be a valid integer"),
        ({"train": {"epochs": 2.5}}, "train.epochs=2.5 is not valid: input should be a valid integer"),
        ({"train": {"epochs": 0}}, "train.epochs=0 is not valid: input should be greater than or equal to 1"),
        ({"train": {"precision": "float8"}}, "train.precision='float8' is not valid: input should be 'float32' or"),
        ({"train": 3}, "train=3 is not valid"),
        ({"train": None}, "train=None is not valid"),
        ({"name": ["a"]}, r"name=\['a'\] is not valid: input should be a valid string"),
    ],
)
def test_strict_validation_names_key_and_fix(values: Tree, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as caught:
        validated(Run, values)
    assert "\n" not in str(caught.value)


def test_numbers_may_be_names() -> None:
    assert validated(Run, {"name": 3}).name == "3"


def test_signature_is_the_schema() -> None:
    fields = settings_of(sgd, exclude=["nesterov"]).model_fields
    assert list(fields) == ["lr", "momentum"]
    assert fields["lr"].is_required()
    assert (fields["momentum"].annotation, fields["momentum"].default) == (float, 0.9)


def test_constructor_is_the_schema_of_a_class() -> None:
    class Optimizer:
        def __init__(self, parameters: object, *, lr: float = 0.1) -> None: ...

    assert complete(Optimizer, {"lr": 1}, "train.optimizer", base=Run) == {**Run().model_dump(), "lr": 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.1, "momentun": 0.5}, "unknown key 'train.optimizer.momentun': did you mean 'momentum'"),
        ({"lr": 0.1, "parameters": []}, "unknown key 'train.optimizer.parameters'"),
        ({}, "'train.optimizer.lr' is missing: set train.optimizer.lr=..."),
        ({"lr": "high"}, "train.optimizer.lr='high' is not valid: input should be a valid number"),
    ],
)
def test_component_is_checked_against_its_signature(settings: Tree, message: str) -> None:
    with pytest.raises(UserError, match=message):
        complete(sgd, settings, "train.optimizer")


def test_resolved_settings_resolve_to_themselves(tmp_path: Path) -> None:
    resolved = completed(
        laid({"method": ["kd", {"name": "at", "pairs": ["layer1", "no"]}], "student": {"name": "cnn", "width": 1e-5}})
    )
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(resolved, sort_keys=False))
    assert completed(laid(read_yaml(file))) == resolved
    assert completed(laid(read_yaml(file), overrides=["method.kd.weight=2"]))["method"][0]["weight"] == 2


@pytest.mark.parametrize(
    ("text", "tree"), [("", {}), ("# nothing\n", {}), ("seed: 3\nlr: 1e-3\n", {"seed": 3, "lr": 1e-3})]
)
def test_yaml_file(tmp_path: Path, text: str, tree: dict[str, Any]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert read_yaml(file) == tree


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- kd\n- at\n", "must hold 'key: value' lines, found a list"),
        (b"kd", "must hold 'key: value' lines, found a str"),
        (b"a: [1\nb: 2\n", "is not valid YAML"),
        (b"a: !!python/object:os.system x\n", "is not valid YAML"),
        (b"\x89PNG\xff", "it is not a text file"),
    ],
)
def test_bad_yaml_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_yaml_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read settings from '.*none\.yaml': No such file"):
        read_yaml(tmp_path / "none.yaml")


@dataclass
class Slope:
    start: float
    end: float = 0.0

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ValueError("start must be 0 or more")


def ramped(
    *, weight: float | Slope = 1.0, sampling: str | dict[str, float] = "uniform", names: str | list[str] | None = None
) -> None: ...


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": "high"}, "method.x.weight='high' is not valid: give a number or a mapping with start, end"),
        ({"weight": [1]}, "method.x.weight=[1] is not valid: give a number or a mapping with start, end"),
        ({"weight": {"start": 1, "ends": 2}}, "unknown key 'method.x.weight.ends': did you mean 'end'?"),
        (
            {"weight": {"start": 1, "end": "low"}},
            "method.x.weight.end='low' is not valid: input should be a valid number",
        ),
        ({"weight": {"end": 1}}, "'method.x.weight.start' is missing: set method.x.weight.start=..."),
        ({"weight": {"start": -1}}, "method.x.weight={'start': -1} is not valid: start must be 0 or more"),
        ({"sampling": [1]}, "method.x.sampling=[1] is not valid: give a word or a mapping {key: value}"),
        ({"sampling": {"cat": "often"}}, "method.x.sampling.cat='often' is not valid: input should be a valid number"),
        ({"names": {"a": 1}}, "method.x.names={'a': 1} is not valid: give a word or a list [a, b]"),
        ({"names": ["a", {}]}, "method.x.names.1={} is not valid: input should be a valid string"),
    ],
)
def test_a_value_of_several_kinds_is_explained_in_one_line(settings: Tree, message: str) -> None:
    with pytest.raises(UserError) as caught:
        complete(ramped, settings, "method.x")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_settings_within_a_setting_of_one_of_several_methods() -> None:
    tree = laid(
        overrides=["method=[kd,at]", "method.kd.weight.start=4", "method.kd.weight.end=1", "method.at.weight=2"]
    )
    assert tree["method"] == [{"name": "kd", "weight": {"start": 4, "end": 1}}, {"name": "at", "weight": 2}]
    assert laid(overrides=["method=kd", "method.kd.weight.start=4"]) == laid(
        overrides=["method=kd", "method.kd.weight={start: 4}"]
    )
