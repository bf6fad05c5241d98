"""Parameter counts."""

from itertools import pairwise
from typing import Literal

from torch import nn

from understudy.models.head import head_of
from understudy.models.naming import find_source
from understudy.reproduce.computations.base import COMPUTATIONS


@COMPUTATIONS.register("parameters")
def parameters(
    *,
    model: str,
    classes: int,
    hidden: list[int] | None = None,
    part: Literal["all", "head"] = "all",
    unit: float = 1.0,
) -> float:
    """Number of parameters of a model.

    Args:
        model: Its name.
        classes: Number of classes.
        hidden: Widths of layers between the features and the last layer; none by default.
        part: `head` counts the classifier alone, which is what trains where the rest is frozen.
        unit: What is counted in; 1e6 is millions.
    """
    network = find_source(model).build(num_classes=classes, channels=3, settings={}, download=False).network
    last = network.get_submodule(head_of(network))
    assert isinstance(last, nn.Linear)
    widths = [last.in_features, *(hidden or []), classes]
    head = nn.Sequential(*(nn.Linear(*pair) for pair in pairwise(widths)))
    count = _count(head)
    return (count if part == "head" else _count(network) - _count(last) + count) / unit


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
