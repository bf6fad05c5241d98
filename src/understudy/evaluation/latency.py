"""How long a model takes for a batch, on this machine."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from understudy.taps import evaluating

BATCHES = (1, 8, 32)
# Timed passes: at most so many, and at least so many even where the time is up.
MOST, LEAST = 200, 5


class Latency(NamedTuple):
    """Wall time of a forward pass.

    Attributes:
        batch: Images in the batch.
        p50_ms: Median, in milliseconds for the whole batch.
        p95_ms: One pass in twenty took longer.
        passes: Timed passes.
    """

    batch: int
    p50_ms: float
    p95_ms: float
    passes: int


def measure_latency(
    model: nn.Module, image: Tensor, *, seconds: float = 1.0, batches: Sequence[int] = BATCHES
) -> list[Latency]:
    """Time forward passes, without gradients; the model's mode is left as it was.

    Args:
        model: Images -> logits.
        image: One image as the model takes it (1, channels, height, width), on the model's device.
        seconds: About how long each size of batch is timed, after a tenth of it to warm up.
        batches: Images in each batch; 1, 8 and 32 by default.
    """
    with evaluating(model), torch.no_grad():
        return [_latency(model, image.expand(size, -1, -1, -1).contiguous(), seconds) for size in batches]


def _latency(model: nn.Module, batch: Tensor, seconds: float) -> Latency:
    _times(model, batch, seconds / 10, least=1)
    times = 1000 * np.asarray(_times(model, batch, seconds, least=LEAST))
    p50, p95 = np.percentile(times, (50, 95)).tolist()
    return Latency(len(batch), p50, p95, len(times))


def _times(model: nn.Module, batch: Tensor, seconds: float, *, least: int) -> list[float]:
    """Seconds of each pass, until the time is up or there are enough."""
    times: list[float] = []
    while len(times) < least or (sum(times) < seconds and len(times) < MOST):
        times.append(timed(model, batch))
    return times


def timed(model: nn.Module, image: Tensor) -> float:
    """Seconds of one call, until the device has done it."""
    start = time.perf_counter()
    model(image)
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - start
