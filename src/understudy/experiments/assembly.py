"""Everything a run works with."""

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from understudy.classifier import Classifier
from understudy.data import ImageData, Loader, Split, make_loader
from understudy.data.augment import is_fixed
from understudy.data.loader import MAX_RESIDENT_SIZE
from understudy.data.sampling import image_weights
from understudy.distiller import Distiller
from understudy.engine.distributed import World, gather_rows
from understudy.engine.progress import CountingBar
from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions, collect_predictions
from understudy.experiments.settings import RunSettings
from understudy.teachers.frozen import Teacher
from understudy.types import Batch

# Larger batches are slower on a CPU, where activations then leave the cache.
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Assembly:
    """Everything a run works with, on its device.

    Args:
        settings: What it was made from.
        world: The processes that work together.
        device: Where the models are.
        data: The data set.
        size: Height and width of the batches in pixels.
        student: The network to train.
        teacher: The network to learn from; None in plain training.
        distiller: The unit that is trained.
        notes: What was done that a user should know, one line each.
    """

    settings: RunSettings
    world: World
    device: torch.device
    data: ImageData
    size: int
    student: Classifier
    teacher: Teacher | None
    distiller: Distiller
    notes: tuple[str, ...]
    # Images are decoded once, not at every validation.
    loaders: dict[tuple[str, World], Loader] = field(default_factory=dict, repr=False)

    def split(self, name: str) -> Split:
        """One of the splits `train`, `val`, `test`."""
        return getattr(self.data, name)

    def train_loader(self) -> Loader:
        """Shuffled, augmented batches, the same for equal seeds."""
        chosen = self.settings.data
        batch_size = self.settings.train.batch_size
        return self._loader(
            self.data.train,
            batch_size,
            train=True,
            augment=self.augmentation(),
            views=self.views(),
            unlabelled=self.data.unlabelled,
            weights=image_weights(chosen["sampling"], self.data.train.labels, self.data.classes),
        )

    def augmentation(self) -> str | dict[str, Any]:
        """How training images are varied."""
        chosen = self.settings.data["augment"]
        return _augmentation(self.size) if chosen == "auto" else chosen

    def views(self) -> int | None:
        """How many different views of an image training shows; None is another one in each epoch."""
        return 1 if is_fixed(self.augmentation()) else self.settings.data["views"]

    def epochs(self) -> dict[str, int]:
        """How long each stage of the training is, by its name; most methods have the stage `train` alone."""
        common = self.settings.train.epochs
        return {stage.name: common if stage.epochs is None else stage.epochs for stage in self.distiller.stages()}

    def num_unlabelled(self) -> int:
        """Unlabelled images in a training batch of all processes, so many that each part of it has the same share."""
        if self.data.unlabelled is None:
            return 0
        unit = self.world.size * self.settings.train.accumulate
        wanted = self.settings.train.batch_size * self.settings.data["unlabelled_share"]
        return max(1, round(wanted / unit)) * unit

    def batches(self, split: str) -> Iterator[Batch]:
        """Every image of a split once, as it is, shared out over the processes."""
        place = (split, self.world)
        if place not in self.loaders:
            part = self.split(split)
            # A multiple of the processes that leaves none of them without images.
            size = max(min(EVALUATION_BATCH, len(part)) // self.world.size, 1) * self.world.size
            self.loaders[place] = self._loader(part, size, train=False)
        return self.loaders[place].batches(0)

    def predictions(self, model: nn.Module, split: str) -> Predictions:
        """All logits of a model on a split."""
        return collect_predictions(model, self.batches(split), gather=gather_rows)

    def sample(self, count: int = 32) -> Batch:
        """A few training images with labels to probe with, as they are, from all over the split."""
        chosen = torch.linspace(0, len(self.data.train) - 1, min(count, len(self.data.train))).long()
        images = self.data.train.subset(chosen)
        batch = next(self._loader(images, len(images), train=False, world=World()).batches(0))
        return batch._replace(index=chosen.to(self.device), host=None)

    def example(self) -> Tensor:
        """One image as the models get it."""
        return self.sample(1).image

    def _loader(
        self,
        split: Split,
        batch_size: int,
        *,
        train: bool,
        augment: str | dict[str, Any] = "none",
        views: int | None = None,
        world: World | None = None,
        unlabelled: Split | None = None,
        weights: Tensor | None = None,
    ) -> Loader:
        world = world or self.world
        workers = self.settings.data["workers"]
        return make_loader(
            split,
            batch_size=batch_size,
            size=self.size,
            channels=self.data.channels,
            augment=augment,
            seed=self.settings.seed,
            train=train,
            device=self.device,
            rank=world.rank,
            world=world.size,
            workers=min(8, (os.cpu_count() or 2) - 1) if workers is None else workers,
            views=views,
            unlabelled=unlabelled,
            num_unlabelled=self.num_unlabelled(),
            weights=weights,
            progress=CountingBar("decoding images", show=self.world.first),
        )


def split_name(chosen: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A component's name and its settings."""
    return chosen["name"], {key: value for key, value in chosen.items() if key != "name"}


@contextmanager
def as_user_error(where: str) -> Generator[None]:
    """Turn a ValueError of a constructor into a `UserError` that names the section of the settings."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _augmentation(size: int) -> str:
    return "crop-flip" if size <= MAX_RESIDENT_SIZE else "resized-crop"
