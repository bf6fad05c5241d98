"""Which parameters train."""

from collections.abc import Sequence
from types import MethodType
from typing import Literal, NamedTuple

from torch import nn

from understudy.errors import UserError, did_you_mean
from understudy.models.head import heads_of

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class ParameterCount(NamedTuple):
    """How many parameters a network has.

    Attributes:
        trainable: Those that require a gradient.
        frozen: The others.
    """

    trainable: int
    frozen: int


def count_parameters(network: nn.Module) -> ParameterCount:
    """Trainable and frozen parameters of a network, shared ones counted once."""
    sizes = {True: 0, False: 0}
    for parameter in network.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    return ParameterCount(trainable=sizes[True], frozen=sizes[False])


def freeze(
    network: nn.Module, *, train: Literal["all", "head"] | Sequence[str], batchnorm: bool = False
) -> ParameterCount:
    """Choose what trains; everything else is frozen, whatever it was before.

    Args:
        network: The network, changed in place.
        train: `all`, `head` (see `heads_of`) or paths of the modules to train.
        batchnorm: Keep the running statistics of BatchNorm layers outside the trained modules, of all of them with
            `train="all"`: they stay in eval mode, so that their buffers do not change. Without it a frozen layer
            still follows the statistics of the batches.

    Raises:
        UserError: A path names no module.
    """
    paths = _module_paths(network, train)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(_is_within(name, paths))
    for name, module in network.named_modules():
        if isinstance(module, BATCH_NORMS):
            _keep_statistics(module, batchnorm and (train == "all" or not _is_within(name, paths)))
    return count_parameters(network)


def _module_paths(network: nn.Module, train: str | Sequence[str]) -> list[str]:
    if train == "all":
        return [""]
    if train == "head":
        return heads_of(network)
    paths = [train] if isinstance(train, str) else list(train)
    known = [name for name, _ in network.named_modules()]
    for path in paths:
        if path not in known:
            raise UserError(f"no module '{path}' to train: {did_you_mean(path, known[1:])}")
    return paths


def _is_within(name: str, paths: list[str]) -> bool:
    return any(path in ("", name) or name.startswith(f"{path}.") for path in paths)


def _keep_statistics(module: nn.Module, keep: bool) -> None:
    # On the instance, since replacing the layer would change its class or its keys; deepcopy binds the method anew.
    if keep:
        module.__dict__["train"] = MethodType(_stay_in_eval, module)
        module.eval()
    else:
        module.__dict__.pop("train", None)


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return nn.Module.train(module, mode=False)
