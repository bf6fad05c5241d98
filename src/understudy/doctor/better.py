"""Whether one way to read a model is clearly better than another, on the same images."""

from torch import Tensor

# Smaller gains are not worth a change.
MIN_GAIN = 0.02
# Standard errors; several candidates are tried, so more than the usual two.
MIN_ERRORS = 3.0


def clearly_better(new: Tensor, old: Tensor) -> bool:
    """Whether `new` is right more often than `old`, by two points and by McNemar's statistic.

    Args:
        new: For each image whether it is right (images,), bool.
        old: The same of what it is compared with.
    """
    won, lost = int((new & ~old).sum()), int((old & ~new).sum())
    gain = (won - lost) / max(len(new), 1)
    return gain >= MIN_GAIN and won - lost > MIN_ERRORS * (won + lost) ** 0.5
