"""How often each class is drawn in training; evaluation is never touched."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from understudy.errors import UserError, did_you_mean

Sampling = str | Mapping[str, float]
"""`uniform`: every image once an epoch. `balanced`: all classes equally often. A mapping: the share of each class by
name; what it leaves is divided evenly among the classes that it does not name. Classes without images are left out."""


def image_weights(sampling: Sampling, labels: Tensor, classes: Sequence[str]) -> Tensor | None:
    """The weight of each image in the draw; None where every image is seen once an epoch.

    Args:
        sampling: See `Sampling`.
        labels: Class ids (n,), int64.
        classes: Class names in the order of the ids.

    Returns:
        float64 (n,), summing to 1, or None.

    Raises:
        UserError: A class is unknown or has no images, or shares are negative, more than 1 together, or less where no
            class is left for the rest.
    """
    if sampling == "uniform":
        return None
    if isinstance(sampling, str) and sampling != "balanced":
        raise UserError(f"data.sampling={sampling} is unknown: uniform, balanced, or a share for each class")
    counts = torch.bincount(labels, minlength=len(classes))
    present = [name for name, count in zip(classes, counts.tolist(), strict=True) if count]
    named = {} if isinstance(sampling, str) else sampling
    _check(named, classes, present)
    others = max(sum(name not in named for name in present), 1)
    left = max(1 - sum(named.values()), 0.0)
    shares = torch.tensor([named.get(name, left / others) for name in classes], dtype=torch.float64)
    return (shares / counts.clamp(min=1))[labels]


def _check(named: Mapping[str, float], classes: Sequence[str], present: Sequence[str]) -> None:
    for name, share in named.items():
        if name not in classes:
            raise UserError(f"data.sampling names the class '{name}': {did_you_mean(name, classes)}")
        if share > 0 and name not in present:
            raise UserError(f"data.sampling gives '{name}' a share of {share}, but no training image shows it")
    total = sum(named.values())
    if total > 1 + 1e-9 or min(named.values(), default=0) < 0:
        raise UserError(f"the shares of data.sampling must be 0 or more and at most 1 together, got {dict(named)}")
    if total < 1 - 1e-9 and set(present) <= set(named):
        raise UserError(f"the shares of data.sampling are {total:g} together and no class is left for the rest")
