"""A part of the images, chosen at random, so that a check-up takes minutes whatever the data."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from understudy.data import ImageData

SEED = 0


def bounded(data: ImageData, limit: int) -> tuple[ImageData, dict[str, Tensor]]:
    """Data with at most so many training and validation images; the test split stays as it is.

    They are in random order, so that the first ones are a fair sample as well.

    Args:
        data: The whole.
        limit: Images of each of the two splits; of the training split one of each class is added.

    Returns:
        The smaller data, and by split where in the whole each image stands.
    """
    chosen = {"train": _choose(data.train.labels, limit, every_class=True), "val": _choose(data.val.labels, limit)}
    smaller = replace(data, train=data.train.subset(chosen["train"]), val=data.val.subset(chosen["val"]))
    return smaller, chosen


def _choose(labels: Tensor, limit: int, *, every_class: bool = False) -> Tensor:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    places = range(min(limit, len(labels)))
    # Without any image of a class, sampling by class and methods that draw from classes would fail.
    first = np.unique(labels[order].numpy(), return_index=True)[1].tolist() if every_class else []
    return order[list(dict.fromkeys([*places, *first]))]
