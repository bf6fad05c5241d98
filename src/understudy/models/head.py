"""The layer that makes the logits."""

from typing import Any

from torch import nn

from understudy.branches import Branches


def head_of(network: nn.Module) -> str:
    """Module path of the classification layer, the first one if there are several.

    That is what timm's `get_classifier` names where the network has it; otherwise the last linear layer, or without
    one the last convolution.

    Raises:
        ValueError: The network has neither.
    """
    return heads_of(network)[0]


def heads_of(network: nn.Module) -> list[str]:
    """Module paths of all classification layers: distilled transformers have two, whose logits they average.

    Raises:
        ValueError: The network has none.
    """
    paths = [path for part in _named_classifiers(network) if (path := _last_layer(network, part)) is not None]
    if not paths and (last := _last_layer(network, "")) is not None:
        paths = [last]
    if not paths:
        raise ValueError(f"{type(network).__name__} has no linear layer and no convolution that could be its head")
    return paths


def replace_head(network: nn.Module, num_classes: int) -> None:
    """Put fresh classification layers with `num_classes` outputs in the place of the old ones."""
    for path in heads_of(network):
        head = network.get_submodule(path)
        if isinstance(head, nn.Linear):
            fresh: nn.Module = nn.Linear(head.in_features, num_classes)
        else:
            assert isinstance(head, nn.Conv2d)
            # A classifying convolution is 1x1 (SqueezeNet).
            fresh = nn.Conv2d(head.in_channels, num_classes, 1)
        network.set_submodule(path, fresh)


def _named_classifiers(network: nn.Module) -> list[str]:
    """Paths of what timm's `get_classifier` returns: a module, or a tuple of them."""
    get_classifier: Any = getattr(network, "get_classifier", None)
    if get_classifier is None:
        return []
    found = get_classifier()
    paths = {id(module): path for path, module in network.named_modules()}
    modules = found if isinstance(found, tuple | list | nn.ModuleList) else (found,)
    return [paths[id(module)] for module in modules if id(module) in paths]


def _last_layer(network: nn.Module, within: str) -> str | None:
    """Path of the last linear layer inside a module, or without one of the last convolution."""
    # Those of early exits make no logits of the network itself.
    exits = [path for path, module in network.named_modules() if isinstance(module, Branches)]
    inside = [
        (path, module)
        for path, module in network.get_submodule(within).named_modules(prefix=within)
        if not any(path.startswith(f"{branches}.") for branches in exits)
    ]
    for kind in (nn.Linear, nn.Conv2d):
        layers = [path for path, module in inside if isinstance(module, kind)]
        if layers:
            return layers[-1]
    return None
