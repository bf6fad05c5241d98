"""Small classifiers with early exits."""

from typing import Any

import torch
from torch import Tensor, nn

from understudy.classifier import Classifier, InputSpec
from understudy.exits import add_exits
from understudy.testing import small_network

PLAIN = InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CLASSES = tuple("abcde")


def images(num: int = 6, *, size: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(num, 3, size, size, generator=torch.Generator().manual_seed(seed))


def classifier(network: nn.Module | None = None, *, name: str = "custom") -> Classifier:
    """Five classes; by default a residual network for 16x16."""
    made = small_network((4, 6, 8)) if network is None else network
    return Classifier(made, spec=PLAIN, classes=CLASSES, name=name)


def branched(network: nn.Module | None = None, **settings: Any) -> Classifier:
    """A classifier with exits behind `layer1` and `layer2`, whose BatchNorms have seen something."""
    torch.manual_seed(1)
    made = classifier(network)
    add_exits(made, images(), **{"exits": ["layer1", "layer2"], **settings})
    made.train()
    with torch.no_grad():
        for seed in range(2):
            made(images(8, seed=seed))
    return made.eval()
