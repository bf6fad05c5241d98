"""Random numbers as a pure function of their counter, so that any augmentation can be replayed.

A chain of splitmix64 steps (Steele, Lea and Flood, OOPSLA 2014) in wrapping int64 arithmetic: the same numbers on
every device, whatever else is in the batch.
"""

from functools import lru_cache

import torch
from torch import Tensor

# The constants of splitmix64 as signed 64-bit numbers: 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB.
GOLDEN = -7046029254386353131
FIRST = -4658895280553007687
SECOND = -7723592293110705685


def uniform(seed: int, view: Tensor, index: Tensor, *, stream: int) -> Tensor:
    """Uniform numbers in [0, 1), one for each (seed, view, index, stream).

    Args:
        seed: Of the whole run.
        view: Which augmentation of the image (batch,), int64.
        index: Position of the image in its split (batch,), int64.
        stream: Tells apart the numbers that one augmentation needs.

    Returns:
        float32 (batch,), multiples of 2**-24.
    """
    state = _absorb(_absorb(view, derive(seed, stream)), index)
    return _shift(state, 40).float() * 2.0**-24


def draws(index: Tensor, num: int, *counters: Tensor) -> Tensor:
    """Many random numbers for each index, which depend on it and on the counters alone.

    Args:
        index: (batch,), int64.
        num: How many for each.
        counters: Seed, step and the like, each a 0-D int64 tensor, so that they may change in a compiled step.

    Returns:
        int64 (batch, num), from 0 to 2**31 - 1.
    """
    state = torch.zeros_like(index)
    for value in (*counters, index):
        state = _absorb(state, value)
    # The generator splitmix64 itself; its last exclusive or does not change the upper bits.
    state = state[:, None] + GOLDEN * torch.arange(1, num + 1, device=index.device)
    state = (state ^ _shift(state, 30)) * FIRST
    state = (state ^ _shift(state, 27)) * SECOND
    return _shift(state, 33)


# The seed of a run is derived again for every batch.
@lru_cache(maxsize=256)
def derive(*values: int) -> int:
    """A seed in 0..2**63-1 that depends on every value and on their order."""
    state = torch.zeros((), dtype=torch.int64)
    for value in values:
        state = _absorb(state, value)
    return int(state) & (2**63 - 1)


def _absorb(state: Tensor, value: Tensor | int) -> Tensor:
    state = (state ^ value) + GOLDEN
    state = (state ^ _shift(state, 30)) * FIRST
    state = (state ^ _shift(state, 27)) * SECOND
    return state ^ _shift(state, 31)


def _shift(state: Tensor, num_bits: int) -> Tensor:
    # Tensors shift arithmetically: clear the copies of the sign bit.
    return (state >> num_bits) & ((1 << (64 - num_bits)) - 1)
