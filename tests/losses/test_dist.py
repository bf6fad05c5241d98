import pytest
import torch
from torch import Tensor

from understudy.losses.dist import correlation_losses


def logits_of(probabilities: Tensor) -> Tensor:
    return probabilities.log()


def probabilities(num: int, num_classes: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, num_classes, generator=generator, dtype=torch.float64).softmax(1)


def test_inter_asks_for_the_ranking_and_not_for_the_confidence() -> None:
    teacher = probabilities(6, 5, seed=0)
    # Half the teacher's answer and half of no answer at all correlates perfectly.
    timid = (teacher + 1 / 5) / 2
    losses = correlation_losses(logits_of(timid), logits_of(teacher), 1.0)
    assert losses.inter.item() == pytest.approx(0, abs=1e-6)
    assert losses.intra.item() == pytest.approx(0, abs=1e-6)


def test_reversed_answers_give_the_largest_loss() -> None:
    teacher = probabilities(6, 5, seed=0)
    reverse = 2 / 5 - teacher
    reverse = 1 / 5 + 0.2 * (reverse - 1 / 5)
    losses = correlation_losses(logits_of(reverse), logits_of(teacher), 1.0)
    assert losses.inter.item() == pytest.approx(2, abs=1e-5)
    assert losses.intra.item() == pytest.approx(2, abs=1e-5)


def test_value_times_the_squared_temperature() -> None:
    student, teacher = logits_of(probabilities(6, 5, seed=0)), logits_of(probabilities(6, 5, seed=1))
    found, single = correlation_losses(4 * student, 4 * teacher, 4.0), correlation_losses(student, teacher, 1.0)
    assert found.inter.item() == pytest.approx(16 * single.inter.item(), rel=1e-12)
    assert found.intra.item() == pytest.approx(16 * single.intra.item(), rel=1e-12)


def test_intra_depends_on_the_batch_and_inter_is_a_mean_over_images() -> None:
    student, teacher = logits_of(probabilities(6, 5, seed=0)), logits_of(probabilities(6, 5, seed=1))
    both = correlation_losses(student, teacher)
    halves = [correlation_losses(student[rows], teacher[rows]) for rows in (slice(3), slice(3, 6))]
    assert sum(half.inter.item() for half in halves) / 2 == pytest.approx(both.inter.item(), abs=1e-12)
    assert sum(half.intra.item() for half in halves) / 2 != pytest.approx(both.intra.item(), abs=1e-3)


def test_for_one_image_intra_is_constant_and_inter_is_not() -> None:
    student = logits_of(probabilities(1, 5, seed=0)).requires_grad_()
    losses = correlation_losses(student, logits_of(probabilities(1, 5, seed=1)))
    (gradient,) = torch.autograd.grad(losses.intra, student, retain_graph=True)
    assert losses.intra.item() == pytest.approx(16)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    (gradient,) = torch.autograd.grad(losses.inter, student)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("level", [0.0, 5.1, -1e3])
def test_a_classifier_that_starts_at_zero_is_not_blown_up(level: float) -> None:
    student = torch.full((4, 10), level, requires_grad=True)
    losses = correlation_losses(student, logits_of(probabilities(4, 10, seed=0)).float())
    (losses.inter + losses.intra).backward()
    assert losses.inter.item() == pytest.approx(16)
    assert student.grad is not None
    assert student.grad.abs().max() < 1
