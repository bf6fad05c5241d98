"""Counter-based numbers: uniform, independent, the same in every batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from understudy.data.random import derive, draws, uniform

NUM = 20000


def numbers(seed: int = 0, view: int = 0, stream: int = 0, start: int = 0) -> np.ndarray:
    index = torch.arange(start, start + NUM)
    return uniform(seed, torch.full_like(index, view), index, stream=stream).numpy()


def splitmix64(state: int) -> int:
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_published_algorithm() -> None:
    assert derive(0) == splitmix64(0) & (2**63 - 1) == 0xE220A8397B1DCDAF & (2**63 - 1)
    assert derive(5, -7) == splitmix64(splitmix64(5) ^ (2**64 - 7)) & (2**63 - 1)


@pytest.mark.parametrize("arguments", [{}, {"seed": 1}, {"view": 299}, {"stream": 2}, {"start": 10**9}])
def test_uniform(arguments: dict[str, int]) -> None:
    drawn = numbers(**arguments)
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < 0.001 < 0.999 < drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    # Neighbours in a row are independent: pairs fill the square.
    counts = np.histogram2d(drawn[:-1], drawn[1:], bins=9, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("changed", [{"seed": 1}, {"view": 1}, {"view": -1}, {"stream": 1}, {"start": 1}])
def test_independent(changed: dict[str, int]) -> None:
    counts = np.histogram2d(numbers(), numbers(**changed), bins=9, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_over_views_of_one_image() -> None:
    view = torch.arange(NUM)
    drawn = uniform(0, view, torch.full_like(view, 3), stream=0).numpy()
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3


def test_view_and_index_do_not_mix() -> None:
    view, index = torch.meshgrid(torch.arange(-1, 200), torch.arange(200), indexing="ij")
    drawn = uniform(0, view.flatten(), index.flatten(), stream=0)
    # 40,200 draws of 2**24 values: about 48 coincidences, and no systematic ones such as (1, 2) with (2, 1).
    assert len(drawn) - len(drawn.unique()) < 100


def test_batch_composition_does_not_matter() -> None:
    index = torch.randperm(1000)
    view = torch.arange(1000) % 7
    whole = uniform(3, view, index, stream=1)
    parts = [uniform(3, view[i : i + 1], index[i : i + 1], stream=1) for i in range(0, 1000, 111)]
    assert torch.equal(whole[::111], torch.cat(parts))


def test_draws_are_those_of_the_published_generator() -> None:
    mask = 2**64 - 1
    found = draws(torch.tensor([6, 2]), 3, torch.tensor(5), torch.tensor(9))
    for row, index in zip(found.tolist(), (6, 2), strict=True):
        key = splitmix64(splitmix64(splitmix64(5) ^ 9) ^ index)
        assert row == [splitmix64((key + number * 0x9E3779B97F4A7C15) & mask) >> 33 for number in range(3)]


def test_draws_are_uniform_and_depend_on_index_and_counters() -> None:
    index = torch.arange(4)
    found = draws(index, NUM, torch.tensor(3))
    assert stats.kstest(found.flatten().numpy() / 2**31, "uniform").pvalue > 1e-3
    assert torch.equal(draws(index.flip(0), 5, torch.tensor(3)), found.flip(0)[:, :5])
    assert not torch.equal(draws(index, NUM, torch.tensor(4)), found)
    assert len(found[:, 0].unique()) == 4
