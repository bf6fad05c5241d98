"""Whether one way to read a model is clearly better than another, on the same images."""

from math import exp

from torch import Tensor

# Smaller gains are not worth a change.
MIN_GAIN = 0.02
# Standard errors; several candidates are tried, so more than the usual two.
MIN_ERRORS = 3.0
# Accuracy of the worst teacher that is worth a remedy, with more than a few classes.
TRAINED = 0.4


def clearly_better(new: Tensor, old: Tensor) -> bool:
    """Whether `new` is right more often than `old`, by two points and by McNemar's statistic.

    Args:
        new: For each image whether it is right (images,), bool.
        old: The same of what it is compared with.
    """
    won, lost = int((new & ~old).sum()), int((old & ~new).sum())
    gain = (won - lost) / max(len(new), 1)
    return gain >= MIN_GAIN and won - lost > MIN_ERRORS * (won + lost) ** 0.5


def is_trained(flags: Tensor, num_classes: int, *, found_on: int | None = None) -> bool:
    """Whether a model is right so often that it must have learnt these classes.

    One without training is better than guessing in some order of its classes, or with some scale of its input.

    Args:
        flags: For each image whether it is right (images,), bool.
        num_classes: Number of classes.
        found_on: How many images its order of classes was found on; None is its own order. A class has its place by an
            image that is recognised: with one image a class, a model that is right in 60 % has found no more than half.
    """
    found = 1.0 if found_on is None else 1 - exp(-TRAINED * found_on / num_classes)
    return flags.double().mean().item() >= max(TRAINED * found, 1.5 / num_classes)
