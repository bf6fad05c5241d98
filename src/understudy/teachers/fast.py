"""The same teacher in less time: BatchNorm folded into the convolutions, weights in half precision, channels last."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from understudy.kernels import is_kept
from understudy.taps import evaluating

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Folding only moves roundings: logits that differ by more than this share of the largest are those of another network.
TOLERANCE = 1e-3


def quicken(model: nn.Module, image: Tensor, *, precision: torch.dtype = torch.float32) -> nn.Module:
    """A copy of a frozen model that gives the same logits sooner; its layers are no longer those of the original.

    Args:
        model: Images -> logits, with weights in float32.
        image: A few images as the model takes them, on its device.
        precision: What autocast computes in: weights of convolutions and linear layers are kept in it, which autocast
            would otherwise convert at each call, but for layers that stay in float32 (see `keep_right`).
    """
    copy = fold_batchnorm(model, image)
    if precision != torch.float32:
        for module in copy.modules():
            if isinstance(module, (*CONVOLUTIONS, nn.Linear)) and not is_kept(module):
                module.to(precision)
    return copy.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def fold_batchnorm(model: nn.Module, image: Tensor) -> nn.Module:
    """A frozen copy whose convolutions do the work of the BatchNorm layers behind them.

    A convolution whose output is also used elsewhere cannot: that shows in the logits, and it is left as it is.

    Args:
        model: Images -> logits.
        image: A few images as the model takes them, to see which layer reads which.
    """
    pairs = _pairs(model, image)
    folded = _folded(model, pairs)
    if _same(model, folded, image):
        return folded
    few = image[:2]
    folded = _folded(model, [pair for pair in pairs if _same(model, _folded(model, [pair]), few)])
    return folded if _same(model, folded, image) else _folded(model, [])


def keeps_statistics(module: nn.Module) -> bool:
    """False for a BatchNorm that uses each batch's own, also in eval mode: its answers depend on the batch."""
    return not isinstance(module, BATCHNORMS) or module.running_mean is not None


def _folded(model: nn.Module, pairs: list[tuple[str, str]]) -> nn.Module:
    copy = deepcopy(model).eval().requires_grad_(False)
    for convolution, batchnorm in pairs:
        fused = fuse_conv_bn_eval(copy.get_submodule(convolution), copy.get_submodule(batchnorm))  # pyright: ignore[reportArgumentType]
        copy.set_submodule(convolution, fused.requires_grad_(False))
        copy.set_submodule(batchnorm, nn.Identity())
    return copy


def _pairs(model: nn.Module, image: Tensor) -> list[tuple[str, str]]:
    """Paths of each convolution that is called once and of the BatchNorm, called once, that reads its output."""
    found: list[tuple[str, str]] = []
    calls: dict[str, int] = {}
    # The tensors are kept: a new one could get the identity of one that is gone.
    made: dict[int, tuple[str, Tensor]] = {}

    def watch(path: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[path] = calls.get(path, 0) + 1
            if isinstance(module, CONVOLUTIONS):
                made[id(output)] = (path, output)
            elif inputs and id(inputs[0]) in made and keeps_statistics(module):
                found.append((made[id(inputs[0])][0], path))

        return module.register_forward_hook(hook)

    watched = [each for each in model.named_modules() if isinstance(each[1], (*CONVOLUTIONS, *BATCHNORMS))]
    handles = [watch(path, module) for path, module in watched]
    with evaluating(model), torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return [pair for pair in found if all(calls[path] == 1 for path in pair)]


def _same(model: nn.Module, other: nn.Module, image: Tensor) -> bool:
    with evaluating(model), torch.no_grad():
        ours, theirs = model(image).float(), other(image).float()
    return bool((ours - theirs).abs().max() <= TOLERANCE * ours.abs().max().clamp(min=1))
