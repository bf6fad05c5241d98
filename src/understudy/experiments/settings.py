"""Every setting of a run: what there is, what it defaults to, how it is resolved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from understudy.config import Settings, Shape, Tree, complete, layered, merge, read_yaml, validated
from understudy.data.base import DATASETS
from understudy.data.load import resolve_source
from understudy.engine.loggers import LOGGERS
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES
from understudy.engine.settings import TrainSettings
from understudy.errors import UserError
from understudy.experiments.recipes import recipe_for
from understudy.methods.base import METHODS
from understudy.models.base import MODELS

SHAPE = Shape(
    components=frozenset({"data", "teacher", "student", "train.optimizer", "train.schedule"}),
    lists=frozenset({"method"}),
    aliases={"model": "student"},
)
# What there is to change the settings of, below every recipe.
BASE: Tree = {"train": {"optimizer": {"name": "adamw"}, "schedule": {"name": "onecycle"}}}
# Names of what the Python interface was given as an object, which settings alone cannot make again.
OBJECT = "object:"
# What a builder gets from the data and not from the user.
FROM_DATA = ("num_classes", "in_channels")


class DataSettings(Settings):
    """What every data set can be told, besides the settings of its own.

    Attributes:
        name: A registered name, or what `understudy.load_data` takes: a folder, a CSV file, `hf:NAME`.
        size: Height and width in pixels of the batches; None is the images' own size or what the models want.
        augment: How training images are varied (see `understudy.data.augment`), a name or a name with settings, as in
            `{name: crop-flip, pad: 2}`; `auto` chooses by size.
        workers: Processes that decode images which do not fit into memory; None takes all cores but one, at most 8.
        views: Number of different augmentations of an image; None makes a new one in each epoch.
        sampling: How often the classes are drawn in training: `uniform` shows every image once an epoch, `balanced` all
            classes equally often, `{cat: 0.9}` gives shares by name (see `understudy.data.sampling`).
        unlabelled: A folder of images that join each training batch without a label; only terms that need no label
            apply to them.
        unlabelled_share: How many of them for each labelled image of a batch; `train.batch_size` counts the labelled.
    """

    name: str
    size: int | None = Field(default=None, ge=1)
    augment: str | dict[str, Any] = "auto"
    workers: int | None = Field(default=None, ge=0)
    views: int | None = Field(default=None, ge=1)
    sampling: str | dict[str, float] = "uniform"
    unlabelled: str | None = None
    unlabelled_share: float = Field(default=1.0, gt=0)


class ModelSettings(Settings):
    """What every model can be told, besides the settings of its architecture.

    Attributes:
        name: As `understudy.create_model` takes it.
        pretrained: Start from published weights (`torchvision:` and `timm:` names).
        weights: A file of weights from elsewhere.
        size: Height and width in pixels this model sees; None is that of the data, or what it was trained for.
        mean: Mean per channel of pixels in 0..1; None is that of the published weights, else that of the data.
        std: Standard deviation per channel, likewise.
    """

    name: str
    pretrained: bool = False
    weights: str | None = None
    size: int | None = Field(default=None, ge=1)
    mean: list[float] | None = None
    std: list[float] | None = None


class TeacherSettings(ModelSettings):
    """A teacher, or several: `teacher=[runs/a,runs/b]`; all take the same settings.

    Attributes:
        name: As `understudy.create_model` takes it; a list is an ensemble.
        allow_untrained: Go on with a teacher that is no better than guessing on the validation split.
        classes: Where its classes are not the data's: its class or classes by name of the data's class, or a CSV or
            YAML file that says so (see `understudy.experiments.teaching`). None pairs them by name.
        temperature: `fit` divides each teacher's logits by the temperature that suits the validation split.
        average: Whether an ensemble averages logits or probabilities (see `understudy.teachers.ensemble`).
        average_temperature: Where it averages probabilities; None is the temperature of the first method that has one.
        shares: How much each teacher of an ensemble counts; None is all alike.
    """

    name: str | list[str]  # pyright: ignore[reportIncompatibleVariableOverride]  # wider on purpose
    allow_untrained: bool = False
    classes: dict[str, str | list[str]] | str | None = None
    temperature: Literal["fit"] | None = None
    average: Literal["logits", "probabilities"] = "logits"
    average_temperature: float | None = Field(default=None, gt=0)
    shares: list[float] | None = None


class StudentSettings(ModelSettings):
    """A student.

    Attributes:
        init: `teacher` copies the layers of the teacher that fit.
        train: `all` parameters, the `head` only, or a list of layers.
        freeze_batchnorm: BatchNorm layers that do not train keep their statistics; None does so unless all trains.
    """

    init: Literal["teacher"] | None = None
    train: str | list[str] = "all"
    freeze_batchnorm: bool | None = None


class LabelSettings(Settings):
    """The loss with the labels.

    Attributes:
        weight: Of the cross-entropy; None is the smallest that goes with a method, or 1 without methods.
        smoothing: Share of the target spread over all classes.
    """

    weight: float | None = Field(default=None, ge=0)
    smoothing: float = Field(default=0.0, ge=0, lt=1)


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
    train: TrainSettings = TrainSettings()
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: str = "auto"
    loggers: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list)
    out: str | None = None

    def tree(self) -> Tree:
        """Plain types, as `config.yaml` holds them."""
        return self.model_dump(mode="json")


Command = Literal["train", "distill"]


def resolve(command: Command, files: Sequence[Path], overrides: Sequence[tuple[str, Any]]) -> RunSettings:
    """Lay the command's defaults, the data set's recipe, YAML files and overrides over each other and check it all.

    Args:
        command: `train` leaves teacher and methods out; `distill` starts from KD.
        files: YAML files, later ones over earlier ones.
        overrides: Dotted keys and values, such as `("train.epochs", 30)`.

    Raises:
        UserError: An unknown key or name, with the closest known one; a value of the wrong kind; something missing.
    """
    layers = [read_yaml(path) for path in files]
    if command == "train":
        _refuse_teaching(overrides)
    first: Tree = merge(BASE, {"method": "kd"} if command == "distill" else {}, SHAPE)
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
        if key.split(".")[0] in ("teacher", "method") and value:
            raise UserError(f"understudy train learns from labels alone, without {key}={value}: use understudy distill")


def _check_present(command: Command, tree: Tree) -> None:
    wanted = {"data": "data=digits", "student": "student=cnn-xs", "teacher": "teacher=runs/teacher"}
    if command == "train":
        wanted = {"data": "data=digits", "student": "model=cnn-m"}
    elif not tree.get("method"):
        raise UserError("'method' is empty: name one, as in method=kd, or use understudy train")
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
        "student": _model(settings.student, StudentSettings, "student"),
        "method": [_component(METHODS, method, "method") for method in settings.method],
        "train": train,
    }
    completed = settings.model_copy(update=found)
    return completed.model_copy(update={"out": settings.out or default_out(completed)})


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

    # A model from elsewhere checks its settings itself when it is built.
    class Open(base):
        model_config = ConfigDict(extra="allow")

    return complete(_no_settings, chosen, where, base=Open)


def _no_settings() -> None:
    """A component without settings that are known beforehand."""


def teacher_names(chosen: Mapping[str, Any]) -> list[str]:
    """The names of one teacher or several."""
    name = chosen["name"]
    return [str(part) for part in name] if isinstance(name, list) else [str(name)]


def default_out(settings: RunSettings) -> str:
    """`runs/<data>-<student>-<methods>-seed<seed>`: the same command finds its own run again."""
    data = Path(str(settings.data.get("path", settings.data["name"]))).name
    words = [data, str(settings.student["name"])]
    words += [str(method["name"]) for method in settings.method] or ["plain"]
    safe = ["".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in word) for word in words]
    return f"runs/{'-'.join(safe)}-seed{settings.seed}"
