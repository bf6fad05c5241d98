"""What a model costs: parameters, multiply-adds, bytes, milliseconds."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from understudy.evaluation.latency import measure_latency
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


def measure_cost(model: nn.Module, image: Tensor, *, seconds: float = 0.1) -> Cost:
    """Measure what one image costs; the model's mode is left as it was.

    Args:
        model: Images -> logits.
        image: One image as the model takes it (1, channels, height, width), on the model's device.
        seconds: About how long it is timed.
    """
    with evaluating(model), torch.no_grad():
        return Cost(
            parameters=count_parameters(model),
            macs=count_macs(model, image),
            bytes=count_bytes(model),
            latency_ms=measure_latency(model, image, seconds=seconds, batches=(1,))[0].p50_ms,
        )


def count_parameters(model: nn.Module) -> int:
    """Number of the network's parameters, trainable or not."""
    return sum(parameter.numel() for parameter in network_of(model).parameters())


def count_bytes(model: nn.Module) -> int:
    """Size of the network's parameters and buffers in memory."""
    network = network_of(model)
    return sum(tensor.numel() * tensor.element_size() for tensor in (*network.parameters(), *network.buffers()))


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
