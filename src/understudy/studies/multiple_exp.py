"""The alpha study of anvelezec/distillation as a study: its flags, its loss, its numbers of runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from understudy.classifier import IMAGENET_MEAN, IMAGENET_STD
from understudy.config import Tree
from understudy.data.base import DATASETS
from understudy.errors import UserError
from understudy.experiments.recipe_files import recipe_file
from understudy.experiments.run import prepare
from understudy.models.saved import is_saved
from understudy.studies.arms import directory_name
from understudy.studies.resolve import resolve_study
from understudy.studies.settings import NONE, Study
from understudy.study_record import StudyDirectory

# Its settings besides the flags; ResNet-18 of which the head trains is its student.
RECIPE = "hymenoptera/alpha"
STUDENT, TEACHER = "torchvision:resnet18", "torchvision:resnet50"
PUBLISHED = ("torchvision:", "timm:")
LABELS_ALONE = 1.0

Say = Callable[[str], None]
Pairs = Sequence[tuple[str, Any]]


class Flags(NamedTuple):
    """What `multiple_exp.py` is told; the defaults are those of its README, with the gamma of its text.

    Attributes:
        teacher_file: A run directory, a saved model, or a file of weights.
        alpha: Weights of the cross-entropy; that of the squared difference of the logits is what is left of 1.
        n_exp: Runs of each alpha, with the seeds 1, 2, and so on.
        data_dir: A folder with `train` and `val`, or the name of a data set.
        num_epochs: Epochs of a run.
        batch_size: Images in a training batch.
        lr: Learning rate of SGD.
        momentum: Of SGD.
        step_size: Epochs until the learning rate falls, and between two falls.
        gamma: What it is multiplied by then.
        student: A model name.
        teacher: The model that a file of weights belongs to.
        out: The directory of the study; None names one after the data and the student.
    """

    teacher_file: str
    alpha: Sequence[float] = (0.5,)
    n_exp: int = 4
    data_dir: str = "data/hymenoptera_data"
    num_epochs: int = 25
    batch_size: int = 32
    lr: float = 0.001
    momentum: float = 0.9
    step_size: int = 7
    gamma: float = 0.1
    student: str = STUDENT
    teacher: str = TEACHER
    out: str | None = None


def parse_alphas(texts: Sequence[str]) -> tuple[float, ...]:
    """`["0", "0.5,1"]` -> (0, 0.5, 1).

    Raises:
        UserError: One is no number from 0 to 1, or stands there twice.
    """
    words = [word.strip() for text in texts for word in text.strip("[]").split(",")]
    try:
        found = tuple(map(float, words))
    except ValueError:
        raise UserError(f"--alpha {' '.join(texts)} is no list of numbers: give for example --alpha 0,0.5,1") from None
    for alpha in found:
        if not 0 <= alpha <= 1:
            raise UserError(f"--alpha {alpha:g} is not between 0 (the teacher alone) and 1 (the labels alone)")
    if len(set(found)) < len(found):
        raise UserError(f"--alpha {' '.join(texts)} has a value twice, which would be the same runs: leave it out")
    return found


def resolve_flags(flags: Flags, overrides: Pairs = (), *, say: Say = print) -> Study:
    """The study that the flags ask for, with those alphas that its directory already holds.

    Alphas are compared with alpha 1, the labels alone, where it is one of them, otherwise with the first.

    Args:
        flags: See `Flags`.
        overrides: More settings by dotted key, as of `understudy study`.
        say: Takes each line that the user should read.

    Raises:
        UserError: A flag or a setting is wrong, or the teacher's file cannot be used.
    """
    if flags.n_exp < 1:
        raise UserError(f"--n_exp {flags.n_exp} is no number of runs: give 1 or more")
    out = flags.out or f"runs/alpha-{directory_name(Path(flags.data_dir).name)}-{directory_name(flags.student)}"
    arms = {**_earlier(out, say), **{_name(alpha): _arm(alpha) for alpha in flags.alpha}}
    first = _name(LABELS_ALONE)
    settings: dict[str, Any] = {
        "data": _data(flags.data_dir),
        "student": _student(flags.student),
        "teacher": _teacher(flags.teacher_file, flags.teacher),
        "train.epochs": flags.num_epochs,
        "train.batch_size": flags.batch_size,
        "train.optimizer.lr": flags.lr,
        "train.optimizer.momentum": flags.momentum,
        "train.schedule": {"name": "step", "step_size": flags.step_size, "gamma": flags.gamma},
        "seeds": flags.n_exp,
        "arms": arms,
        "baseline": NONE if len(arms) == 1 else first if first in arms else next(iter(arms)),
        "out": out,
    }
    if flags.gamma == 0 and flags.step_size < flags.num_epochs:
        say(f"warning: learning rate is 0 from epoch {flags.step_size}, where training stops: set --s_lr_gamma 0.1")
    return resolve_study([recipe_file(RECIPE)], [*settings.items(), *overrides])


def check_first(study: Study, *, say: Say = print) -> None:
    """Do all that the first missing run does before it writes anything: data, weights and the teacher are there.

    Raises:
        UserError: Something is missing or does not fit.
    """
    missing = [planned for planned in study.runs() if not planned.directory.finished()]
    if missing:
        prepare(missing[0].settings, say=say)


def _name(alpha: float) -> str:
    return f"alpha={alpha:g}"


def _arm(alpha: float) -> Tree:
    return {"label.weight": alpha, "method.weight": round(1 - alpha, 12)}


def _earlier(out: str, say: Say) -> dict[str, Tree]:
    """The alphas of earlier commands, which belong into the same table."""
    directory = StudyDirectory(out)
    if not directory.exists():
        return {}
    arms = directory.read_config().get("arms") or {}
    say(f"{out} holds a study of {', '.join(arms)}: it is gone on with")
    return arms


def _data(name: str) -> Tree:
    if name in DATASETS:
        return {"name": name}
    return {"name": "folder", "path": name, "augment": "resized-crop", "validation": 0.2}


def _student(name: str) -> Tree:
    """Of a network that is trained already only the head trains, as there; of a fresh one everything."""
    published = name.startswith(PUBLISHED)
    head = published or is_saved(name)
    return {"name": name, "pretrained": published, "train": "head" if head else "all", "freeze_batchnorm": False}


def _teacher(file: str, architecture: str) -> Tree:
    if not Path(file).exists():
        raise UserError(f"no such teacher '{file}': give a run directory, a saved model or a file of weights")
    if is_saved(file):
        return {"name": file}
    # Its images are normalised as ImageNet's.
    return {"name": architecture, "weights": file, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
