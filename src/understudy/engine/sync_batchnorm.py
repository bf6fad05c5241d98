"""BatchNorm over the batches of all processes, on any device (torch's own runs on GPUs only)."""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from understudy.engine.distributed import sum_over_processes

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def synchronize_batchnorm(module: nn.Module) -> None:
    """Let every BatchNorm in a module see the batches of all processes, in place; keys and hooks stay."""
    for part in module.modules():
        if type(part) in _SYNCHRONIZED:
            part.__class__ = _SYNCHRONIZED[type(part)]


class _Synchronized1d(nn.BatchNorm1d):
    def forward(self, input: Tensor) -> Tensor:
        return _normalized(self, input) if _together(self) else super().forward(input)


class _Synchronized2d(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return _normalized(self, input) if _together(self) else super().forward(input)


_SYNCHRONIZED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _Synchronized1d,
    nn.BatchNorm2d: _Synchronized2d,
}


def _together(layer: BatchNorm) -> bool:
    return layer.training and dist.is_initialized()


def _normalized(layer: BatchNorm, input: Tensor) -> Tensor:
    axes = [0, *range(2, input.ndim)]
    shape = [1, -1, *[1] * (input.ndim - 2)]
    values = input.float()
    count = sum_over_processes(values.new_tensor([input.numel() / input.shape[1]]))
    mean = _all_sum(values.sum(axes)) / count
    centred = values - mean.view(shape)
    variance = _all_sum(centred.square().sum(axes)) / count
    _track(layer, mean.detach(), (variance * count / (count - 1)).detach())
    normal = centred * torch.rsqrt(variance + layer.eps).view(shape)
    if layer.affine:
        normal = normal * layer.weight.view(shape) + layer.bias.view(shape)
    return normal.to(input.dtype)


def _track(layer: BatchNorm, mean: Tensor, unbiased_variance: Tensor) -> None:
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked.add_(1)
    momentum = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean, momentum)
    layer.running_var.lerp_(unbiased_variance, momentum)


class _AllSum(torch.autograd.Function):
    """Sum over processes, whose gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return sum_over_processes(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_processes(gradients[0])


def _all_sum(tensor: Tensor) -> Tensor:
    return cast("Tensor", _AllSum.apply(tensor))
