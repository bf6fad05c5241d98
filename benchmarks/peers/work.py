"""The work that every tool kit does: one epoch of KD."""

from collections.abc import Callable
from typing import NamedTuple

from torch.utils.data import DataLoader, Subset

from benchmarks.textbook import PilImages
from understudy.classifier import Classifier
from understudy.data import ImageData


class Work(NamedTuple):
    """One epoch over all training images in full batches; afterwards `student` is trained.

    Args:
        data: Where the images come from.
        teacher: Frozen.
        student: To be trained, in place.
        batch: Images in a batch.
        augment: Random crops and flips; without them one batch gives every tool kit the same gradient.
        workers: Processes that load; 0 loads in this one.
        settings: Of `understudy distill`, in the form KEY=VALUE; other tool kits get none.
    """

    data: ImageData
    teacher: Classifier
    student: Classifier
    batch: int
    augment: bool = True
    workers: int = 0
    settings: tuple[str, ...] = ()

    def images(self) -> PilImages:
        """The training images, augmented and normalised by torchvision's transforms on PIL images."""
        return PilImages(self.data, self.student.spec, augment=self.augment)

    def loader(self) -> DataLoader:
        """The loader of the textbook loop."""
        return DataLoader(self.images(), self.batch, shuffle=True, drop_last=True, num_workers=self.workers)

    def held_out(self) -> DataLoader:
        """One batch, for loops that must validate; its cost does not grow with the steps."""
        return DataLoader(Subset(self.images(), range(self.batch)), self.batch)


Train = Callable[[Work], None]
