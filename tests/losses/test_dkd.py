import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div, softmax

from understudy.losses.dkd import decoupled_kd_losses
from understudy.losses.logit import kd_loss

# The golden pair of logits and labels, and its distillation loss at temperature 4.
STUDENT = torch.tensor([[1, 2, 3], [0, 0, 0]], dtype=torch.float64)
TEACHER = torch.tensor([[3, 2, 1], [2, 0, -2]], dtype=torch.float64)
LABELS = torch.tensor([2, 0])
GOLDEN_KD = 1.2871825716072


def recombined(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Knowledge distillation put together again: target plus (1 - p) times nontarget, image by image."""
    total = torch.zeros((), dtype=student.dtype)
    for row, (theirs, label) in enumerate(zip(teacher, labels, strict=True)):
        image = slice(row, row + 1)
        parts = decoupled_kd_losses(student[image], teacher[image], labels[image], temperature)
        total += parts.target + (1 - softmax(theirs / temperature, 0)[label]) * parts.nontarget
    return total / len(labels)


def test_the_two_parts_make_up_the_golden_distillation_loss() -> None:
    assert recombined(STUDENT, TEACHER, LABELS, 4.0).item() == pytest.approx(GOLDEN_KD, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_the_two_parts_make_up_distillation(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(7, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(6, (7,), generator=generator)
    expected = kd_loss(student, teacher, temperature).item()
    assert recombined(student, teacher, labels, temperature).item() == pytest.approx(expected, abs=1e-11)


def test_nontarget_does_not_see_the_logit_of_the_true_class() -> None:
    student = STUDENT.clone().requires_grad_()
    loss = decoupled_kd_losses(student, TEACHER, LABELS).nontarget
    loss.backward()
    moved = STUDENT.clone()
    moved[torch.arange(2), LABELS] += torch.tensor([7.0, -3.0])
    assert decoupled_kd_losses(moved, TEACHER, LABELS).nontarget.item() == pytest.approx(loss.item(), abs=1e-12)
    assert student.grad is not None
    assert torch.equal(student.grad[torch.arange(2), LABELS], torch.zeros(2, dtype=torch.float64))
    assert student.grad.abs().sum() > 0


def test_target_sees_only_how_sure_the_others_are_together() -> None:
    loss = decoupled_kd_losses(STUDENT, TEACHER, LABELS, 1.0).target
    spread = STUDENT.clone()
    # The same sum of exponentials over the two classes that are not the true one.
    for row, (a, b) in enumerate([(0, 1), (1, 2)]):
        together = spread[row, [a, b]].logsumexp(0)
        spread[row, a], spread[row, b] = together + torch.tensor(0.75).log(), together + torch.tensor(0.25).log()
    assert decoupled_kd_losses(spread, TEACHER, LABELS, 1.0).target.item() == pytest.approx(loss.item(), abs=1e-6)
    assert decoupled_kd_losses(STUDENT + 1, TEACHER, LABELS, 1.0).target.item() == pytest.approx(loss.item())


def test_with_two_classes_nothing_is_left_for_nontarget() -> None:
    student = torch.tensor([[1.0, -2.0]], requires_grad=True)
    losses = decoupled_kd_losses(student, torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    assert losses.nontarget.item() == 0
    (losses.target + losses.nontarget).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def logarithm_of_sums(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The target part as public code computes it, which is right until a probability rounds to 0."""
    true, rest = softmax(student, 1).gather(1, labels[:, None]), softmax(teacher, 1).gather(1, labels[:, None])
    ours, theirs = torch.cat([true, 1 - true], 1), torch.cat([rest, 1 - rest], 1)
    return kl_div(ours.log(), theirs, reduction="batchmean")


def test_log_space_agrees_with_the_logarithm_of_sums_where_that_is_finite_and_goes_on_where_it_is_not() -> None:
    naive = logarithm_of_sums(STUDENT, TEACHER, LABELS).item()
    assert decoupled_kd_losses(STUDENT, TEACHER, LABELS, 1.0).target.item() == pytest.approx(naive, abs=1e-12)
    sure, label = torch.tensor([[-80.0, 80.0, -80.0]]), torch.tensor([0])
    assert not logarithm_of_sums(sure, -sure, label).isfinite()
    # -log p of the true class, once it has half of the teacher's probability: about 80 - (-80), times 1/2.
    assert decoupled_kd_losses(sure, -sure, label, 1.0).target.item() == pytest.approx(80, rel=0.02)


def test_a_label_that_is_no_class_is_an_error() -> None:
    with pytest.raises((RuntimeError, IndexError), match=r"out of (bounds|range)"):
        decoupled_kd_losses(STUDENT, TEACHER, torch.tensor([3, 0]))
