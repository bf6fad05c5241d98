import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import contrastive as reference
from reference.relation import slope
from torch import Tensor
from torch.testing import assert_close

from understudy.data.random import draws
from understudy.losses.contrastive import contrast_scores, draw_outside, log_normalizer, nce_loss


def random_scores(num: int, num_negatives: int, *, scale: float = 3.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(num, 1 + num_negatives, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("num", "num_negatives"), [(1, 1), (3, 4), (2, 40)])
@pytest.mark.parametrize("num_images", [20, 50_000])
def test_value_and_gradient_are_those_of_the_paper(num: int, num_negatives: int, num_images: int) -> None:
    scores = random_scores(num, num_negatives).requires_grad_()
    log_z = log_normalizer(scores, num_images)
    assert log_z.exp().item() == pytest.approx(reference.normalizer(scores.detach().numpy(), num_images), rel=1e-12)
    assert not log_z.requires_grad
    loss = nce_loss(scores, log_z, num_images)
    loss.backward()
    z = log_z.exp().item()
    expected = slope(lambda moved: reference.nce(moved, z, num_images), scores.detach().numpy())
    assert loss.item() == pytest.approx(reference.nce(scores.detach().numpy(), z, num_images), rel=1e-10)
    assert scores.grad is not None
    assert_close(scores.grad.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_gradcheck() -> None:
    scores = random_scores(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda given_: nce_loss(given_, torch.tensor(2.0), 30), scores)


def test_value_by_hand() -> None:
    """One negative among one image, all probabilities 1: log 2 twice, and once more 10 for a negative out of ten."""
    for images, value in ((1, 2 * math.log(2)), (10, math.log(1.1) + math.log(11))):
        loss = nce_loss(torch.zeros(3, 2, dtype=torch.float64), torch.zeros(()), images)
        assert loss.item() == pytest.approx(value, abs=1e-5)


def test_the_normaliser_makes_the_mean_probability_uniform() -> None:
    scores = random_scores(4, 9)
    assert (scores - log_normalizer(scores, 50)).exp().mean().item() == pytest.approx(1 / 50, rel=1e-12)


def test_float32_is_close_and_half_precision_finite() -> None:
    scores = random_scores(4, 100)
    exact = nce_loss(scores, torch.tensor(11.0), 50_000)
    assert_close(nce_loss(scores.float(), torch.tensor(11.0), 50_000).double(), exact, rtol=1e-5, atol=1e-5)
    half = nce_loss(scores.bfloat16(), torch.tensor(11.0), 50_000)
    assert half.dtype == torch.float32
    assert_close(half.double(), exact, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("scale", [80.0, 1e4])
@pytest.mark.parametrize("sign", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_saturated_scores_stay_finite(scale: float, sign: tuple[int, int]) -> None:
    scores = torch.full((2, 5), sign[1] * scale)
    scores[:, 0] = sign[0] * scale
    scores.requires_grad_()
    loss = nce_loss(scores, log_normalizer(scores, 100), 100)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 2**20))
def test_a_better_match_costs_less(num: int, num_negatives: int, seed: int) -> None:
    scores = random_scores(num, num_negatives, seed=seed).requires_grad_()
    loss = nce_loss(scores, torch.tensor(3.0), 50)
    loss.backward()
    assert loss.item() >= -1e-6
    assert scores.grad is not None
    assert (scores.grad[:, 0] < 0).all()
    assert (scores.grad[:, 1:] > 0).all()


def test_scores_are_products_with_the_chosen_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    bank = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    chosen = torch.tensor([[0, 1, 1], [8, 8, 8], [4, 2, 0]])
    found = contrast_scores(embeddings, bank, chosen)
    # The obvious form: gather the rows, then multiply.
    naive = (bank[chosen] * embeddings[:, None]).sum(2)
    assert_close(found, naive, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad(one.square().sum(), embeddings)[0] for one in (found, naive))
    assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_draws_are_uniform_outside_the_interval() -> None:
    first, count = torch.tensor([0, 3, 7, 9]), torch.tensor([3, 4, 3, 1])
    drawn = draw_outside(first, count, 10, draws(torch.arange(4), 20_000))
    assert drawn.shape == (4, 20_000)
    for rows, begin, length in zip(drawn, first.tolist(), count.tolist(), strict=True):
        allowed = [row for row in range(10) if not begin <= row < begin + length]
        times = rows.bincount(minlength=10)
        assert times[allowed].sum() == 20_000
        # Five standard deviations of a binomial distribution.
        assert (times[allowed] - 20_000 / len(allowed)).abs().max() < 5 * (20_000 / len(allowed)) ** 0.5


def test_draws_reach_from_the_first_to_the_last_row_of_a_large_bank() -> None:
    """The largest random number of 31 bits must not fall off the end."""
    ends = torch.tensor([[0, 2**31 - 1]])
    assert draw_outside(torch.tensor([0]), torch.tensor([1]), 3, ends).tolist() == [[1, 2]]
    assert draw_outside(torch.tensor([5]), torch.tensor([1]), 1_281_167, ends).tolist() == [[0, 1_281_166]]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (0, 4)])
def test_wrong_scores_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="scores must be"):
        nce_loss(torch.zeros(shape), torch.zeros(()), 10)


def test_wrong_banks_are_refused() -> None:
    for embeddings, bank, chosen in (((2, 3), (9, 4), (2, 5)), ((2, 3), (9, 3), (4, 5)), ((2, 3), (9, 3), (2,))):
        with pytest.raises(ValueError, match="expected embeddings"):
            contrast_scores(torch.zeros(embeddings), torch.zeros(bank), torch.zeros(chosen, dtype=torch.int64))
