"""A classifier whose answers are adjusted before it teaches."""

import torch
from torch import Tensor

from understudy.classifier import Classifier
from understudy.losses.checks import check_temperature
from understudy.teachers.class_map import Groups, MergeClasses


class AdjustedClassifier(Classifier):
    """A classifier that speaks of the student's classes, as surely as its temperature lets it.

    Layer names and state dict are those of the classifier.

    Args:
        model: The classifier; its network is used, not copied.
        classes: The student's class names; None keeps its own.
        groups: Its classes for each of these; None where they are its own in the same order.
    """

    temperature: Tensor

    def __init__(
        self, model: Classifier, *, classes: tuple[str, ...] | None = None, groups: Groups | None = None
    ) -> None:
        super().__init__(
            model.network,
            spec=model.spec,
            classes=model.classes if classes is None else classes,
            name=model.name,
            settings=model.settings,
            changes=model.changes,
        )
        self.merge = None if groups is None else MergeClasses(groups)
        self.register_buffer("temperature", torch.ones(()), persistent=False)

    def set_temperature(self, temperature: float) -> None:
        """From now on divide the logits; the largest one stays the largest.

        Raises:
            ValueError: It is not above 0.
        """
        check_temperature(temperature)
        self.temperature.fill_(temperature)

    def forward(self, image: Tensor) -> Tensor:
        """Pixels (batch, channels, height, width), uint8 in 0..255 or float in 0..1 -> logits (batch, classes)."""
        logits = super().forward(image)
        return (logits if self.merge is None else self.merge(logits)) / self.temperature
