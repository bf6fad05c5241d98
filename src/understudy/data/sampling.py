"""How often each class is drawn in training; evaluation is never touched."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from understudy.errors import UserError, did_you_mean

Sampling = str | Mapping[str, float]
"""`uniform`: every image once an epoch. `balanced`: all classes equally often. A mapping: the share of each class by
name; what it leaves is divided evenly among the classes that it does not name."""


def image_weights(sampling: Sampling, labels: Tensor, classes: Sequence[str]) -> Tensor | None:
    """The weight of each image in the draw; None where every image is seen once an epoch.

    Args:
        sampling: See `Sampling`.
        labels: Class ids (n,), int64.
        classes: Class names in the order of the ids.

    Returns:
        float64 (n,), summing to 1, or None.

    Raises:
        UserError: A class is unknown, or shares are negative or more than 1 together.
    """
    if sampling == "uniform":
        return None
    if isinstance(sampling, str) and sampling != "balanced":
        raise UserError(f"data.sampling={sampling} is unknown: uniform, balanced, or a share for each class")
    shares = _shares({} if isinstance(sampling, str) else sampling, classes)
    counts = torch.bincount(labels, minlength=len(classes)).clamp(min=1)
    return (shares / counts)[labels]


def _shares(named: Mapping[str, float], classes: Sequence[str]) -> Tensor:
    for name in named:
        if name not in classes:
            raise UserError(f"data.sampling names the class '{name}': {did_you_mean(name, classes)}")
    left = 1 - sum(named.values())
    if left < -1e-9 or min(named.values(), default=0) < 0:
        raise UserError(f"the shares of data.sampling must be 0 or more and at most 1 together, got {dict(named)}")
    others = max(len(classes) - len(named), 1)
    return torch.tensor([named.get(name, max(left, 0.0) / others) for name in classes], dtype=torch.float64)
