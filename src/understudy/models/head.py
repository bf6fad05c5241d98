"""The layer that makes the logits."""

from torch import nn


def head_of(network: nn.Module) -> str:
    """Module path of the classification layer: the last linear layer, or without one the last convolution.

    Raises:
        ValueError: The network has neither.
    """
    for kind in (nn.Linear, nn.Conv2d):
        paths = [path for path, module in network.named_modules() if isinstance(module, kind)]
        if paths:
            return paths[-1]
    raise ValueError(f"{type(network).__name__} has no linear layer and no convolution that could be its head")


def replace_head(network: nn.Module, num_classes: int) -> None:
    """Put a fresh classification layer with `num_classes` outputs in the place of the old one."""
    path = head_of(network)
    head = network.get_submodule(path)
    if isinstance(head, nn.Linear):
        fresh: nn.Module = nn.Linear(head.in_features, num_classes)
    else:
        assert isinstance(head, nn.Conv2d)
        # A classifying convolution is 1x1 (SqueezeNet).
        fresh = nn.Conv2d(head.in_channels, num_classes, 1)
    network.set_submodule(path, fresh)
