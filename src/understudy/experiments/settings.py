"""Every setting of a run: what there is, what it defaults to, how it is resolved."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from understudy.config import Settings, Shape, Tree, complete, layered, merge, validated
from understudy.data.base import DATASETS
from understudy.data.load import resolve_source
from understudy.engine.loggers import LOGGERS
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES
from understudy.engine.settings import TrainSettings
from understudy.errors import UserError
from understudy.experiments.recipes import recipe_for
from understudy.experiments.sections import (
    CacheSettings,
    DataSettings,
    LabelSettings,
    ModelSettings,
    StudentSettings,
    TeacherSettings,
)
from understudy.methods.base import METHODS
from understudy.models.base import MODELS
from understudy.record import OBJECT
from understudy.yaml_file import read_yaml

SHAPE = Shape(
    components=frozenset({"data", "teacher", "student", "cache", "train.optimizer", "train.schedule"}),
    lists=frozenset({"method"}),
    aliases={"model": "student"},
)
# What there is to change the settings of, below every recipe.
BASE: Tree = {"train": {"optimizer": {"name": "adamw"}, "schedule": {"name": "onecycle"}}}
# What is for learning from a teacher alone.
TEACHING = ("teacher", "method", "cache")
# What is for a student with early exits, which a method trains.
EXIT_KEYS = ("exits", "exit_heads", "exit_lr", "exit_optimizers", "exit_schedules")
# Beginnings of the names of models with settings that are not known here.
ELSEWHERE = ("torchvision:", "timm:", OBJECT)
# What a builder gets from the data and not from the user.
FROM_DATA = ("num_classes", "in_channels")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class RunSettings(Settings):
    """A whole run; the components are checked against their own signatures."""

    model_config = ConfigDict(frozen=True)

    data: dict[str, Any]
    teacher: dict[str, Any] | None = None
    student: dict[str, Any]
    method: list[dict[str, Any]] = Field(default_factory=list)
    label: LabelSettings = LabelSettings()
    cache: CacheSettings = CacheSettings()
    train: TrainSettings = TrainSettings()
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: str = "auto"
    loggers: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list)
    out: str | None = None

    def tree(self) -> Tree:
        """Plain types, as `config.yaml` holds them."""
        return self.model_dump(mode="json")


Command = Literal["train", "distill", "mutual"]
# What a command starts from.
METHOD_OF: dict[Command, str] = {"distill": "kd", "mutual": "dml"}


def resolve(
    command: Command,
    files: Sequence[Path | Tree],
    overrides: Sequence[tuple[str, Any]],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> RunSettings:
    """Lay the command's defaults, the data set's recipe, YAML files and overrides over each other and check it all.

    Args:
        command: `train` leaves out what files say about teacher, methods, the weight of the labels beside them and
            early exits, so that the file of a distillation makes its baseline; `distill` starts from KD; `mutual`
            starts from DML and has no teacher: it is one student of a cohort.
        files: YAML files, or what they hold, later ones over earlier ones.
        overrides: Dotted keys and values, such as `("train.epochs", 30)`.
        say: Takes the line that says what was left out.

    Raises:
        UserError: An unknown key or name, with the closest known one; a value of the wrong kind; something missing.
    """
    layers = [read_yaml(file) if isinstance(file, Path) else deepcopy(file) for file in files]
    if command == "train":
        _refuse_teaching(overrides)
        left_out = [key for layer in layers for key in _take_teaching(layer)]
        if left_out:
            say(f"understudy train learns from labels alone; left out: {', '.join(dict.fromkeys(left_out))}")
    first: Tree = merge(BASE, {"method": METHOD_OF[command]} if command in METHOD_OF else {}, SHAPE)
    chosen = layered(first, layers, overrides, SHAPE).get("data") or {}
    if chosen.get("name"):
        # Under the name that the user gave: another name would drop the recipe's settings again.
        recipe = merge(recipe_for(_dataset(str(chosen["name"]))[0]), {"data": {"name": chosen["name"]}}, SHAPE)
        first = merge(first, recipe, SHAPE)
    tree = layered(first, layers, overrides, SHAPE)
    if command == "train":
        tree = {**tree, "teacher": None, "method": []}
    _check_present(command, tree)
    return _completed(tree)


def _refuse_teaching(overrides: Sequence[tuple[str, Any]]) -> None:
    for key, value in overrides:
        if key.split(".")[0] in TEACHING and value:
            raise UserError(f"understudy train learns from labels alone, without {key}={value}: use understudy distill")


def _take_teaching(layer: Tree) -> list[str]:
    """Take out of a file what is about a teacher; the keys of what was there."""
    # A cache stands in every resolved file: it is not named, but goes with the teacher whose answers it holds.
    found = [key for key in TEACHING if layer.pop(key, None) and key != "cache"]
    label = layer.get("label")
    # What it weighs beside methods says nothing about training without any.
    if found and isinstance(label, dict) and label.get("weight") is not None:
        layer["label"] = {key: value for key, value in label.items() if key != "weight"}
        found.append("label.weight")
    return [*found, *_take_exits(layer)]


def is_of_teaching(key: str) -> bool:
    """Whether `train` takes a dotted key out of a file, since it says nothing about training on labels alone."""
    head, _, rest = key.partition(".")
    exits = head in ("student", "model") and rest.partition(".")[0] in EXIT_KEYS
    return head in TEACHING or key == "label.weight" or exits


def _take_exits(layer: Tree) -> list[str]:
    """Take out of a file what is about early exits, which nothing trains without a method."""
    student = layer.get("student", layer.get("model"))
    if not isinstance(student, dict):
        return []
    taken = {key: student.pop(key) for key in EXIT_KEYS if key in student}
    return ["student.exits"] if taken.get("exits") is not None else []


def _check_present(command: Command, tree: Tree) -> None:
    wanted = {"data": "data=digits", "student": "student=cnn-xs", "teacher": "teacher=runs/teacher"}
    if command == "train":
        wanted = {"data": "data=digits", "student": "model=cnn-m"}
    elif not tree.get("method"):
        raise UserError("'method' is empty: name one, as in method=kd, or use understudy train")
    elif command == "mutual":
        if tree.get("teacher"):
            raise UserError("understudy mutual has no teacher but the students themselves: leave out teacher=")
        del wanted["teacher"]
    elif not any(METHODS.get(str(method["name"])).needs_teacher for method in tree["method"]):
        del wanted["teacher"]
    for key, example in wanted.items():
        if not tree.get(key) or not tree[key].get("name"):
            raise UserError(f"'{example.split('=')[0]}' is missing: set for example {example}")


def _completed(tree: Tree) -> RunSettings:
    """Check each component against its own signature and write its defaults out."""
    settings = validated(RunSettings, tree)
    for name in settings.loggers:
        LOGGERS.get(name)
    train = settings.train.model_copy(
        update={
            "optimizer": _component(OPTIMIZERS, settings.train.optimizer, "train.optimizer"),
            "schedule": _component(SCHEDULES, settings.train.schedule, "train.schedule"),
        }
    )
    found = {
        "data": _data(settings.data),
        "teacher": settings.teacher and _model(settings.teacher, TeacherSettings, "teacher"),
        "student": _student(settings),
        "method": [_component(METHODS, method, "method") for method in settings.method],
        "train": train,
    }
    completed = settings.model_copy(update=found)
    return completed.model_copy(update={"out": settings.out or default_out(completed)})


def _student(settings: RunSettings) -> Tree:
    """With the optimizers and schedules of exits written out, over those of the rest."""
    chosen = _model(settings.student, StudentSettings, "student")
    for name, registry, shared in (
        ("optimizer", OPTIMIZERS, settings.train.optimizer),
        ("schedule", SCHEDULES, settings.train.schedule),
    ):
        key = f"exit_{name}s"
        base: Tree = {"train": {name: shared}}
        if chosen[key] is not None:
            laid = [merge(base, {"train": {name: own}}, SHAPE)["train"][name] for own in chosen[key]]
            chosen[key] = [_component(registry, each, f"student.{key}") for each in laid]
    return chosen


def _component(registry: Any, chosen: Mapping[str, Any], where: str) -> Tree:
    name = str(chosen["name"])
    function = registry.get(name)
    settings = {key: value for key, value in chosen.items() if key != "name"}
    return {"name": name, **complete(function, settings, where if where.startswith("train") else f"{where}.{name}")}


def _data(chosen: Mapping[str, Any]) -> Tree:
    name, place = _dataset(str(chosen["name"]))
    source = _no_settings if name.startswith(OBJECT) else DATASETS.get(name)
    return complete(source, {**place, **chosen, "name": name}, "data", base=DataSettings)


def _dataset(name: str) -> tuple[str, dict[str, str]]:
    return (name, {}) if name.startswith(OBJECT) else resolve_source(name)


def _model(chosen: Mapping[str, Any], base: type[ModelSettings], where: str) -> Tree:
    name = str(chosen["name"])
    if name in MODELS:
        return complete(MODELS.get(name), chosen, where, exclude=FROM_DATA, base=base)
    if all(map(names_place, teacher_names(chosen))):
        return complete(_no_settings, chosen, where, base=base)

    # A model from elsewhere checks its settings itself when it is built.
    class Open(base):
        model_config = ConfigDict(extra="allow")

    return complete(_no_settings, chosen, where, base=Open)


def names_place(name: str) -> bool:
    """Whether a name stands for a run directory or a file, which may not exist yet and has no settings of its own."""
    return Path(name).name != name and not name.startswith(ELSEWHERE) and ".py:" not in name


def _no_settings() -> None:
    """A component without settings that are known beforehand."""


def teacher_names(chosen: Mapping[str, Any]) -> list[str]:
    """The names of one teacher or several."""
    name = chosen["name"]
    return [str(part) for part in name] if isinstance(name, list) else [str(name)]


def data_name(settings: RunSettings) -> str:
    """What the data are called in names: a folder or file without where it is."""
    return Path(str(settings.data.get("path", settings.data["name"]))).name


def default_out(settings: RunSettings) -> str:
    """`runs/<data>-<student>-<methods>-seed<seed>`: the same command finds its own run again."""
    words = [data_name(settings), str(settings.student["name"])]
    words += [str(method["name"]) for method in settings.method] or ["plain"]
    safe = ["".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in word) for word in words]
    return f"runs/{'-'.join(safe)}-seed{settings.seed}"
