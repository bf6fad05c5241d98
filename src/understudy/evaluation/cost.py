"""What a model costs: parameters, multiply-adds, bytes, milliseconds."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from understudy.taps import evaluating, network_of


class Cost(NamedTuple):
    """The cost of a model.

    Attributes:
        parameters: Number of parameters.
        macs: Multiply-adds of convolutions and matrix products for one image (half of torch's FLOP count).
        bytes: Size of parameters and buffers in memory, which is that of a weights file without its header.
        latency_ms: Median wall time of one forward pass of one image, in milliseconds, on this machine.
    """

    parameters: int
    macs: int
    bytes: int
    latency_ms: float


def measure_cost(model: nn.Module, image: Tensor, *, repeats: int = 50) -> Cost:
    """Measure what one image costs; the model's mode is left as it was.

    Args:
        model: Images -> logits.
        image: One image as the model takes it (1, channels, height, width), on the model's device.
        repeats: Timed forward passes, after a tenth as many to warm up.
    """
    network = network_of(model)
    tensors = [*network.parameters(), *network.buffers()]
    with evaluating(model), torch.no_grad():
        return Cost(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=count_macs(model, image),
            bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
            latency_ms=_median_ms(model, image, repeats),
        )


def count_macs(model: Callable[[Tensor], object], image: Tensor) -> int:
    """Multiply-adds of convolutions and matrix products in one call (half of torch's FLOP count)."""
    with counting() as counter:
        model(image)
    return counter.get_total_flops() // 2


@contextmanager
def counting() -> Generator[FlopCounterMode]:
    """The counter of FLOPs of torch, two for each multiply-add, inside the block.

    Attention as one operation, which torch takes in eval mode without gradients, would count as nothing.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _median_ms(model: nn.Module, image: Tensor, repeats: int) -> float:
    times = [_timed(model, image) for _ in range(repeats + max(repeats // 10, 1))]
    return float(np.median(times[-repeats:])) * 1000


def _timed(model: nn.Module, image: Tensor) -> float:
    start = time.perf_counter()
    model(image)
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - start
