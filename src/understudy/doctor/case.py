"""A set-up as far as it can be made, with what its teachers say: what the probes look at."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from understudy.classifier import Classifier, InputSpec
from understudy.data import ImageData, load_data
from understudy.doctor.bounded import bounded
from understudy.engine.progress import CountingBar
from understudy.errors import UserError
from understudy.evaluation.accuracy import at_chance, top_accuracy
from understudy.evaluation.predictions import Predictions, collect_predictions
from understudy.evaluation.temperature import fit_temperature
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.networks import own_settings
from understudy.experiments.sections import DataSettings, LabelSettings, StudentSettings
from understudy.experiments.settings import OBJECT, RunSettings, teacher_names
from understudy.experiments.training import Training
from understudy.record import RunDirectory
from understudy.teachers import AdjustedClassifier, members_of
from understudy.types import Batch

IMAGES = 2000

Made = TypeVar("Made")


class MissingError(Exception):
    """A part of the set-up is not there; why is among `Case.refusals`, unless it was not asked for."""


class Member(NamedTuple):
    """One teacher.

    Attributes:
        title: What it is called: `teacher`, with its name where there are several.
        name: As the settings have it.
        model: It.
    """

    title: str
    name: str
    model: Classifier


class Case:
    """A set-up, on at most so many images.

    What cannot be assembled as a whole is assembled in parts, so that one mistake does not hide another.

    Args:
        settings: The resolved settings.
        given: Objects that take the place of what the settings name.
        images: Most training and validation images to look at.
        run: The finished run that is looked at, if it is one.

    Attributes:
        refusals: Why a run with these settings would be refused, a line each.
        teaching: An assembly with the teacher; None where there is none.
        studying: An assembly with the student; None where it cannot be made.
        places: By split, where in the data each image that is looked at stands.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        given: Given | None = None,
        images: int = IMAGES,
        run: RunDirectory | None = None,
    ) -> None:
        self.settings = settings
        self.images = images
        self.refusals: list[str] = []
        self.places: dict[str, torch.Tensor] = {}
        self._run = run
        self._given = given or Given()
        self._answers: dict[tuple[nn.Module, str], Predictions] = {}
        self._data = self._tried(self._load)
        self._made: Assembly | None = None
        self.teaching: Assembly | None = None
        self.studying: Assembly | None = None
        if self._data is not None:
            self._assemble(self._data)
        self._fit_temperatures()

    @property
    def data(self) -> ImageData:
        """All images."""
        return _there(self._data)

    @property
    def made(self) -> Assembly:
        """The whole run, on the images that are looked at."""
        return _there(self._made)

    @property
    def student(self) -> Classifier:
        """The network to train."""
        return _there(self.studying).student

    @property
    def teacher(self) -> nn.Module:
        """The network to learn from; several are one `Ensemble`."""
        return _there(_there(self.teaching).teacher).tapped.model

    @property
    def run(self) -> RunDirectory:
        """The run that is looked at."""
        return _there(self._run)

    @cached_property
    def training(self) -> Training:
        """The training that would begin.

        Raises:
            UserError: Its batches cannot be made.
        """
        made = self.made
        assert made.settings.out is not None
        return Training(made, RunDirectory(made.settings.out), lambda line: None)

    @property
    def members(self) -> list[Member]:
        """Each teacher, where it says for itself what it wants to see."""
        models = members_of(self.teacher)
        names = teacher_names(self.settings.teacher or {"name": ""})
        names = names if len(names) == len(models) else [f"{number}" for number in range(len(models))]
        titles = ["teacher"] if len(models) == 1 else [f"teacher {name}" for name in names]
        found = zip(titles, names, models, strict=True)
        return [Member(title, name, model) for title, name, model in found if isinstance(model, Classifier)]

    def answers(self, model: nn.Module, split: str, title: str = "teacher") -> Predictions:
        """What a teacher says about `train` or `val`, without augmentation; asked once."""
        key = (model, split)
        if key not in self._answers:
            batches = watched(_there(self.teaching), split, f"{title} on {split}")
            self._answers[key] = collect_predictions(model, batches)
        return self._answers[key]

    def able(self, model: nn.Module, title: str = "teacher") -> Predictions | None:
        """What a teacher says about the validation images; None where it is no better than guessing."""
        seen = self.answers(model, "val", title)
        guesses = at_chance(top_accuracy(seen), seen.logits.shape[1], len(seen.labels))
        return None if guesses or not seen.logits.isfinite().all() else seen

    def _load(self) -> ImageData:
        chosen = self.settings.data
        return self._given.data or load_data(chosen["name"], settings=own_settings(chosen, DataSettings))

    def _assemble(self, data: ImageData) -> None:
        smaller, self.places = bounded(data, self.images)
        given, chosen = replace(self._given, data=smaller), self.settings
        self._made = self._tried(lambda: assemble(chosen, given=given))
        if self._made is not None:
            self.studying = self._made
            self.teaching = self._made if self._made.teacher else None
            return
        plain = chosen.model_copy(update={"method": [], "label": LabelSettings(weight=1)})
        both = self._tried(lambda: assemble(plain, given=given))
        self.studying = both or self._tried(
            lambda: assemble(_without_teacher(plain), given=replace(given, teacher=None))
        )
        if chosen.teacher is None and given.teacher is None:
            return
        stand_in = replace(given, student=_stand_in(data))
        self.teaching = both or self._tried(lambda: assemble(_any_student(plain), given=stand_in))

    def _tried(self, make: Callable[[], Made]) -> Made | None:
        try:
            return make()
        except UserError as refusal:
            reason = str(refusal)
        except Exception as failure:
            # A network or a file of the user may fail in any way, and the other parts are still worth a look.
            reason = f"{type(failure).__name__}: {failure}"
        reason = " ".join(reason.split())
        if reason not in self.refusals:
            self.refusals.append(reason)
        return None

    def _fit_temperatures(self) -> None:
        """As a run does before its teachers teach."""
        if self.teaching is None or (self.settings.teacher or {}).get("temperature") != "fit":
            return
        for title, _, model in self.members:
            seen = self.able(model, title)
            if seen is not None and isinstance(model, AdjustedClassifier):
                temperature = fit_temperature(seen)
                model.set_temperature(temperature)
                self._answers[model, "val"] = seen._replace(logits=seen.logits / temperature)


def watched(made: Assembly, split: str, title: str, *, most: int | None = None) -> Iterator[Batch]:
    """The batches of a split, with a bar that shows how many images are through.

    Args:
        made: Has the split.
        split: Its name.
        title: What is done with the images.
        most: End with the batch that holds the image of this number; None takes all.
    """
    bar, done = CountingBar(title), 0
    total = min(len(made.split(split)), most or len(made.split(split)))
    try:
        for batch in made.batches(split):
            yield batch
            done += len(batch.image)
            if done >= total:
                break
            bar(done, total)
    finally:
        # It vanishes, also when nobody wants the rest.
        bar(total, total)


def _there(part: Made | None) -> Made:
    if part is None:
        raise MissingError
    return part


def _without_teacher(settings: RunSettings) -> RunSettings:
    return settings.model_copy(update={"teacher": None, "student": {**settings.student, "init": None}})


def _any_student(settings: RunSettings) -> RunSettings:
    student: dict[str, Any] = StudentSettings(name=f"{OBJECT}stand-in").model_dump()
    return settings.model_copy(update={"student": student})


def _stand_in(data: ImageData) -> Classifier:
    """The smallest student, where the real one cannot be made and the teacher is to be looked at."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(data.channels, len(data.classes)))
    return Classifier(network, spec=InputSpec(None, data.channels, data.mean, data.std), classes=data.classes)
