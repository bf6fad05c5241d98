"""Networks with two stages, and a distiller that has one method on them."""

from collections import OrderedDict

import torch
from torch import nn
from toys import random_batch

from understudy.distiller import Distiller
from understudy.matching import Match
from understudy.methods.base import Method
from understudy.teachers import Teacher

STAGES = (("lower", "lower"), ("upper", "upper"))
MATCH = Match(STAGES, STAGES[:1], STAGES[1:], STAGES, (("fc:input", "fc:input"),))


def block(inside: int, out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, out, 3, stride, padding=1), nn.BatchNorm2d(out), nn.ReLU())


def two_stages(*, lower: int = 4, upper: int = 5, channels: int = 1, seed: int = 0) -> nn.Sequential:
    """Images -> three logits; 8x8 pixels are 8x8 after `lower` and 4x4 after `upper`."""
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            lower=block(channels, lower),
            upper=block(lower, upper, stride=2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(upper, 3),
        )
    )


def distilled(method: Method, *, lower: int = 6, upper: int = 7) -> tuple[Distiller, Teacher]:
    """A student and a teacher whose stages are as wide as told; the method takes the pairs of all stages."""
    method.choose(MATCH)
    teacher = Teacher(two_stages(lower=lower, upper=upper, seed=1), taps=method.taps().teacher)
    distiller = Distiller(two_stages(), [method])
    distiller.setup(random_batch(), teacher)
    return distiller, teacher


def without_gradient(module: nn.Module) -> list[str]:
    """Names of the parameters that have no gradient, or one of 0, which a bias in front of BatchNorm has always."""
    return [
        name
        for name, parameter in module.named_parameters()
        if (parameter.grad is None or not parameter.grad.any()) and not name.endswith("0.bias")
    ]
