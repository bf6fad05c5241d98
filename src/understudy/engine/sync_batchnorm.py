"""BatchNorm over the batches of all processes, on any device (torch's own runs on GPUs only)."""

from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from understudy.engine.distributed import sum_over_processes
from understudy.errors import UserError

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def synchronize_batchnorm(module: nn.Module) -> None:
    """Let every BatchNorm in a module see the batches of all processes, in place; keys and hooks stay.

    timm's BatchNorm with an activation behind it is known as well.

    Raises:
        UserError: There is a BatchNorm of an unknown kind, whose forward may do more than normalise.
    """
    for part in module.modules():
        if isinstance(part, BATCH_NORMS):
            kind = type(part)
            if getattr(kind, "synchronized", False):
                # From an earlier stage of the training.
                continue
            if kind not in BATCH_NORMS and not (hasattr(part, "act") and hasattr(part, "drop")):
                raise UserError(
                    f"cannot let '{kind.__name__}' see the batches of all processes: set train.sync_batchnorm=false"
                )
            part.__class__ = _synchronized(kind)


@cache
def _synchronized(kind: Any) -> Any:
    """A subclass that normalises over all processes while it trains."""

    class Synchronized(kind):
        synchronized = True

        def forward(self, input: Tensor, *arguments: Any, **named: Any) -> Tensor:
            if not self.training or not dist.is_initialized():
                return super().forward(input, *arguments, **named)
            normal = _normalized(self, input)
            return normal if kind in BATCH_NORMS else self.act(self.drop(normal))

    return Synchronized


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
