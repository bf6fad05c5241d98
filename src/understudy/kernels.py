"""Layers that a processor's half-precision kernel computes wrongly are computed in float32."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from understudy.taps import evaluating

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# Share of its norm by which a layer's output or gradient may be off. Rounding to bfloat16 makes less than a hundredth
# of it, a wrong kernel (such as oneDNN's with AMX for a 4x4 convolution of 16 channels with stride 4) about 1.
TOLERANCE = 0.1


def keep_right(module: nn.Module, run: Callable[[], object], precision: torch.dtype) -> list[str]:
    """Let the layers that half precision gets wrong here compute in float32 from now on, in place.

    Names, parameters and what they do outside autocast stay. It is for processors, whose kernels depend on the model.

    Args:
        module: A network on the CPU with weights in float32.
        run: Lets the module compute something, under autocast.
        precision: What autocast computes in.

    Returns:
        Paths of these layers.
    """
    found: dict[str, nn.Module] = {}

    def watch(path: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # A layer that is called by keywords is not looked at.
            if inputs and path not in found and not _error(layer, inputs, precision) <= TOLERANCE:
                found[path] = layer

        return layer.register_forward_hook(hook)

    handles = [watch(path, layer) for path, layer in module.named_modules() if isinstance(layer, LAYERS)]
    try:
        with evaluating(module), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    for layer in found.values():
        layer.__class__ = _in_float32(type(layer))
    return list(found)


def is_kept(layer: nn.Module) -> bool:
    """Whether `keep_right` has found this layer wrong in half precision."""
    return getattr(type(layer), "in_float32", False)


@cache
def _in_float32(kind: Any) -> Any:
    """A subclass that autocast does not reach."""

    class InFloat32(kind):
        in_float32 = True

        def forward(self, input: Tensor, *others: Any, **named: Any) -> Tensor:
            if not torch.is_autocast_enabled(input.device.type):
                return super().forward(input, *others, **named)
            with torch.autocast(input.device.type, enabled=False):
                return super().forward(input.float(), *others, **named)

    # torch.fx looks into modules of other places than `torch.nn`.
    InFloat32.__module__ = kind.__module__
    return InFloat32


def _error(layer: nn.Module, inputs: tuple[Any, ...], precision: torch.dtype) -> float:
    """How far output and gradients are off, as a share of their norm; the largest of them."""
    rounded, exact = (_outcome(layer, *inputs, precision=each) for each in (precision, torch.float32))
    off = [(a.float() - b).norm() / b.norm().clamp(min=1e-12) for a, b in zip(rounded, exact, strict=True)]
    # Not `max`, which may overlook a NaN.
    return torch.stack(off).amax().item()


def _outcome(layer: Any, input: Tensor, *others: Any, precision: torch.dtype) -> list[Tensor]:
    """Output, and the gradients of input and weight for one random gradient of the output."""
    input = input.detach().float().requires_grad_()
    with torch.enable_grad(), torch.autocast(input.device.type, precision, enabled=precision != torch.float32):
        # Not `layer(input)`, which would call the hook again.
        output = type(layer).forward(layer, input, *others)
    noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
    wanted = [tensor for tensor in (input, layer.weight) if tensor.requires_grad]
    return [output.detach(), *torch.autograd.grad(output, wanted, noise.to(output.dtype))]
