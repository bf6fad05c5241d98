import math

import numpy as np
import pytest
import torch
from reference import wsld as reference
from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from understudy.losses.logit import kd_loss
from understudy.losses.wsld import image_weights, weighted_kd_loss

LABEL = torch.tensor([0])


def wsld(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float = 2.0) -> Tensor:
    """The whole term, on raw logits."""
    return weighted_kd_loss(student, teacher, image_weights(student, teacher, labels), temperature)


def sure_of_first(probability: float) -> Tensor:
    """Logits of three classes at which the first has this probability."""
    rest = (1 - probability) / 2
    return torch.tensor([[probability, rest, rest]], dtype=torch.float64).log()


@pytest.mark.parametrize(("student", "teacher"), [(0.5, 0.25), (0.25, 0.5), (0.9, 0.1), (0.4, 0.4)])
def test_weight_is_that_of_the_ratio_of_cross_entropies(student: float, teacher: float) -> None:
    ours, theirs = sure_of_first(student), sure_of_first(teacher)
    ours[0, 1] += 0.5
    ours = log_softmax(ours, 1)
    weight = 1 - math.exp(ours[0, 0].item() / theirs[0, 0].item() * -1)
    found = wsld(ours, theirs, LABEL, 2.0).item()
    assert found == pytest.approx(weight * kd_loss(ours, theirs, 2.0).item(), rel=1e-6)


def test_an_image_the_student_knows_better_counts_less() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(1, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    shares: list[float] = []
    for raised in (0.0, 2.0, 4.0, 8.0):
        better = student + raised * torch.eye(5, dtype=torch.float64)[:1]
        shares.append((wsld(better, teacher, LABEL) / kd_loss(better, teacher, 2.0)).item())
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] < 0.1 < shares[0] < 1


def test_weights_lie_between_0_and_1_and_are_constants_for_the_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (3 * torch.randn(9, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(5, (9,), generator=generator)
    weights = reference.weights(student.numpy(), teacher.numpy(), labels.tolist())
    assert ((weights > 0) & (weights <= 1)).all()
    logits = student.clone().requires_grad_()
    wsld(logits, teacher, labels, 2.0).backward()
    assert logits.grad is not None
    plain = 2 * (softmax(student / 2, 1) - softmax(teacher / 2, 1)) / 9
    np.testing.assert_allclose(logits.grad.numpy(), weights[:, None] * plain.numpy(), atol=1e-12)


def test_gradient_is_that_of_the_weighted_soft_cross_entropy_of_the_authors() -> None:
    generator = torch.Generator().manual_seed(2)
    student, teacher = (3 * torch.randn(9, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(5, (9,), generator=generator)
    weights = torch.from_numpy(reference.weights(student.numpy(), teacher.numpy(), labels.tolist()))
    ours, theirs = student.clone().requires_grad_(), student.clone().requires_grad_()
    soft = -(softmax(teacher / 2, 1) * log_softmax(theirs / 2, 1)).sum(1)
    authors, found = 4 * (weights * soft).mean(), wsld(ours, teacher, labels, 2.0)
    authors.backward()
    found.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)
    assert authors.item() > found.item() + 0.1


def test_a_teacher_that_is_sure_and_right_counts_fully() -> None:
    student, teacher = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[80.0, -80.0, -80.0]])
    assert wsld(student, teacher, LABEL).item() == pytest.approx(kd_loss(student, teacher, 2.0).item())


def test_weights_that_are_not_one_for_each_image_are_refused() -> None:
    with pytest.raises(ValueError, match="one for each of 2 images, got"):
        weighted_kd_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(3))
