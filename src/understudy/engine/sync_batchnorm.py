"""BatchNorm over the batches of all processes, on any device (torch's own runs on GPUs only)."""

from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from understudy.engine.distributed import rows_of_processes, sum_over_processes
from understudy.errors import UserError

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def synchronize_batchnorm(module: nn.Module, *, twice: bool = False) -> None:
    """Let every BatchNorm in a module see the batches of all processes, in place; keys and hooks stay.

    timm's BatchNorm with an activation behind it is known as well.

    Args:
        module: What trains.
        twice: Whether a loss takes a gradient of a gradient, for which there is a slower form.

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
            part.__class__ = _synchronized(kind, twice)


@cache
def _synchronized(kind: Any, twice: bool) -> Any:
    """A subclass that normalises over all processes while it trains."""

    class Synchronized(kind):
        synchronized = True

        def forward(self, input: Tensor, *arguments: Any, **named: Any) -> Tensor:
            if not self.training or not dist.is_initialized():
                return super().forward(input, *arguments, **named)
            normal = (_traced if twice else _fused)(self, input)
            return normal if kind in BATCH_NORMS else self.act(self.drop(normal))

    return Synchronized


def _fused(layer: BatchNorm, input: Tensor) -> Tensor:
    # Float weights make the kernels keep float statistics of half-precision input.
    one = input.new_ones(input.shape[1], dtype=torch.promote_types(input.dtype, torch.float32))
    weight, bias = (layer.weight, layer.bias) if layer.affine else (one, torch.zeros_like(one))
    normal, mean, variance, count = cast("tuple[Tensor, ...]", _Normalize.apply(input, weight, bias, layer.eps))
    _track(layer, mean, variance * count / (count - 1))
    return normal


class _Normalize(torch.autograd.Function):
    """By the native kernels: one pass for statistics, one exchange, one pass with those of all; likewise backwards."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        mean, variance, count = _statistics(input, weight)
        ctx.save_for_backward(input, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        normal = torch.native_batch_norm(input, weight, bias, mean, variance, False, 0.0, eps)[0]
        return normal, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        input, weight, mean, variance, count = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        # As if the statistics were constants; what they add follows from two sums over all processes.
        given, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], input, weight, mean, variance, mean, inverse, False, ctx.eps, [True, True, True]
        )
        scale = weight * inverse / -count
        by_input, constant = (rows_of_processes(torch.stack([by_weight, by_bias])).sum(0) * scale).unbind()
        # By the kernel, which is several times as fast as broadcasting over channels in half precision.
        given.add_(torch.native_batch_norm(input, by_input, constant, mean, variance, False, 0.0, ctx.eps)[0])
        return given, by_weight, by_bias, None


def _statistics(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel over all processes, and of how many numbers, in the type of the weights."""
    # The kernel keeps statistics in the type of the running ones it is given: floats for half-precision input.
    running = torch.zeros_like(weight), torch.ones_like(weight)
    numbers = torch.full_like(weight, input.numel() // input.shape[1])
    own = torch.stack([*torch.batch_norm_update_stats(input, *running, 0.0), numbers])
    means, variances, counts = rows_of_processes(own).unbind(1)
    count = counts.sum(0)
    shares = counts / count
    mean = (shares * means).sum(0)
    # What the processes differ by is part of the variance; nothing cancels.
    variance = (shares * (variances + (means - mean).square())).sum(0)
    return mean, variance, count


def _traced(layer: BatchNorm, input: Tensor) -> Tensor:
    """The same step by step, so that its gradient has a gradient."""
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
