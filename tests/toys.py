"""Small networks and batches that several tests use."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from understudy.types import Batch


class FixedLogits(nn.Module):
    """A student whose only parameters are the logits themselves."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, image: Tensor) -> Tensor:
        return self.logits


def small_network(*, num_classes: int = 3, width: int = 4, seed: int = 0) -> nn.Sequential:
    """Grey images -> logits, with the layers that have a state of their own: BatchNorm and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, width, 3, padding=1),
            bn=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(2),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(0.5),
            fc=nn.Linear(4 * width, num_classes),
        )
    )


def batch_of(image: Tensor, label: Tensor | None = None) -> Batch:
    """A batch without augmentation."""
    position = torch.arange(len(image))
    return Batch(image, label, position, torch.full_like(position, -1))


def random_batch(num: int = 6, *, num_classes: int = 3, seed: int = 0) -> Batch:
    """Grey 8x8 images with labels."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(num, 1, 8, 8, generator=generator)
    return batch_of(image, torch.randint(num_classes, (num,), generator=generator))


def state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict(keep_vars=False).items()}


def same_state(module: nn.Module, before: dict[str, Tensor]) -> bool:
    """Whether all parameters and buffers are bit-identical to a copy from before."""
    now = module.state_dict()
    return now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in before)
