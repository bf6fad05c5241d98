from collections.abc import Callable

import pytest
import torch
from torch import nn

from understudy.models import MODELS


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    """A registered network in eval mode with random BatchNorm statistics, so that wrong buffers show."""

    def make(name: str, *, num_classes: int = 10, seed: int = 0, **settings: object) -> nn.Module:
        torch.manual_seed(seed)
        network = MODELS.get(name)(num_classes=num_classes, **settings)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        return network.eval()

    return make
