"""The sections of a run's settings: what every data set, model and label loss can be told."""

from typing import Annotated, Any, Literal

from pydantic import Field

from understudy.config import Settings
from understudy.experiments.sizes import Size


class DataSettings(Settings):
    """What every data set can be told, besides the settings of its own.

    Attributes:
        name: A registered name, or what `understudy.load_data` takes: a folder, a CSV file, `hf:NAME`.
        size: Height and width in pixels of the batches; None is the images' own size or what the models want.
        augment: How training images are varied (see `understudy.data.augment`), a name or a name with settings, as in
            `{name: crop-flip, pad: 2}`; `auto` chooses by size.
        workers: Processes that decode images which do not fit into memory; None takes all cores but one, at most 8.
        views: Number of different augmentations of an image, the same for all seeds, so that runs can share a cache of
            the teacher's answers; None makes a new one in each epoch.
        sampling: How often the classes are drawn in training: `uniform` shows every image once an epoch, `balanced` all
            classes equally often, `{cat: 0.9}` gives shares by name (see `understudy.data.sampling`).
        unlabelled: A folder of images that join each training batch without a label; only terms that need no label
            apply to them.
        unlabelled_share: How many of them for each labelled image of a batch; `train.batch_size` counts the labelled.
        folds: Put training and validation images together and divide them into so many parts (see
            `understudy.data.folds`); None leaves the splits as they are.
        fold: Which part validates, 1 to `folds`; a study sets it.
    """

    name: str
    size: int | None = Field(default=None, ge=1)
    augment: str | dict[str, Any] = "auto"
    workers: int | None = Field(default=None, ge=0)
    views: int | None = Field(default=None, ge=1)
    sampling: str | dict[str, float] = "uniform"
    unlabelled: str | None = None
    unlabelled_share: float = Field(default=1.0, gt=0)
    folds: int | None = Field(default=None, ge=2)
    fold: int | None = Field(default=None, ge=1)


class ModelSettings(Settings):
    """What every model can be told, besides the settings of its architecture.

    Attributes:
        name: As `understudy.create_model` takes it.
        pretrained: Start from published weights (`torchvision:` and `timm:` names).
        weights: A file of weights from elsewhere.
        size: At which size this model sees the images: pixels (16), `[height, width]`, or a part of the size of the
            batches (0.5, 1/2). The same crop is resized, antialiased. None is the size of the data, or what the model
            was trained for.
        mean: Mean per channel of pixels in 0..1; None is that of the published weights, else that of the data.
        std: Standard deviation per channel, likewise.
    """

    name: str
    pretrained: bool = False
    weights: str | None = None
    size: Size | None = None
    mean: list[float] | None = None
    std: list[float] | None = None


class TeacherSettings(ModelSettings):
    """A teacher, or several: `teacher=[runs/a,runs/b]`; all take the same settings.

    Attributes:
        name: As `understudy.create_model` takes it; a list is an ensemble.
        allow_untrained: Go on with a teacher that is no better than guessing on the validation split.
        classes: Where its classes are not the data's: its class or classes by name of the data's class, or a CSV or
            YAML file that says so (see `understudy.experiments.teaching`). None pairs them by name. It needs a teacher
            whose classes have names: a saved one, published weights, a `Classifier`.
        temperature: `fit` divides each teacher's logits by the temperature that suits the validation split.
        average: Whether an ensemble averages logits or probabilities (see `understudy.teachers.ensemble`).
        average_temperature: Where it averages probabilities; None is the temperature of the first method that has one.
        shares: How much each teacher of an ensemble counts; None is all alike.
        precision: Of its forward passes in training; None is that of the student.
    """

    name: str | list[str]  # pyright: ignore[reportIncompatibleVariableOverride]  # wider on purpose
    allow_untrained: bool = False
    classes: dict[str, str | list[str]] | str | None = None
    temperature: Literal["fit"] | None = None
    average: Literal["logits", "probabilities"] = "logits"
    average_temperature: float | None = Field(default=None, gt=0)
    shares: list[float] | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None


class StudentSettings(ModelSettings):
    """A student.

    Attributes:
        init: `teacher` copies the layers of the teacher that fit.
        train: `all` parameters, the `head` only, or a list of layers.
        freeze_batchnorm: BatchNorm layers that do not train keep their statistics; None does so unless all trains.
        exits: Where it has early exits: layers in any order, or their number, or `auto` (see
            `understudy.exits.choose_points`); None for none. A trained student keeps the exits that it has.
        exit_heads: What stands there: bottleneck, conv1, distill, linear, separable or `PATH/FILE.py:FUNCTION`, a name
            or a name with settings; a list has one for each exit in order of depth, of which the last is repeated.
        exit_lr: Learning rate of each exit's head, as a factor of that of the optimizer; None is 1 for all.
        exit_optimizers: An optimizer of its own for each exit's head: a name, or settings that go over those of
            `train.optimizer`; None is one optimizer for all.
        exit_schedules: Likewise, over `train.schedule`.
    """

    init: Literal["teacher"] | None = None
    train: str | list[str] = "all"
    freeze_batchnorm: bool | None = None
    exits: int | str | list[str] | None = None
    exit_heads: str | dict[str, Any] | list[str | dict[str, Any]] = "bottleneck"
    exit_lr: list[Annotated[float, Field(ge=0)]] | None = None
    exit_optimizers: list[str | dict[str, Any]] | None = None
    exit_schedules: list[str | dict[str, Any]] | None = None


class LabelSettings(Settings):
    """The loss with the labels.

    Attributes:
        weight: Of the cross-entropy; None is the smallest that goes with a method, or 1 without methods.
        smoothing: Share of the target spread over all classes.
    """

    weight: float | None = Field(default=None, ge=0)
    smoothing: float = Field(default=0.0, ge=0, lt=1)


class CacheSettings(Settings):
    """Whether the teacher is asked only once about each view of an image, and where its answers are kept.

    Attributes:
        name: `on` or `off`; `auto` is on where the same views come again: with `data.views` less than `train.epochs`,
            or without augmentation. It needs methods that read logits or pooled features only.
        path: Folder of the caches, shared by all runs with the same teacher, images and views.
        precision: `fp16` keeps 11 bits of each number; `fp32` keeps what the teacher said.
        topk: Keep only so many of the largest logits, for thousands of classes; exact at temperature 1 for those.
        fill: `along` asks the teacher when a view is first needed, `ahead` about everything before training.
    """

    name: Literal["auto", "on", "off"] = "auto"
    path: str = "runs/cache"
    precision: Literal["fp16", "fp32"] = "fp16"
    topk: int | None = Field(default=None, ge=1)
    fill: Literal["along", "ahead"] = "along"
