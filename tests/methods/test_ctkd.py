import math

import numpy as np
import pytest
import torch
from reference import logit as reference
from torch import Tensor
from toys import FixedLogits, batch_of, random_batch, small_network

from understudy.distiller import Distiller
from understudy.methods.ctkd import CTKD
from understudy.types import Outputs

STUDENT = torch.tensor([[1, 2, 3], [0, 0, 1], [4, -1, 0]], dtype=torch.float64)
TEACHER = torch.tensor([[3, 2, 1], [2, 0, -2], [1, 0, 2]], dtype=torch.float64)


def temperature_at(theta: float) -> float:
    return 1 + 20 / (1 + math.exp(-theta))


def at(epoch: float, theta: float = 1.0) -> CTKD:
    method = CTKD()
    method.set_epoch(epoch, 240)
    with torch.no_grad():
        method.theta.fill_(theta)
    return method.double()


def slopes(method: CTKD) -> tuple[Tensor, Tensor]:
    """Gradients of the term with respect to the student's logits and to the trained number."""
    student = STUDENT.clone().requires_grad_()
    batch = batch_of(torch.zeros(3, 1))
    term = method(Outputs(student, {}), Outputs(TEACHER, {}), batch)["ctkd"]
    gradients = torch.autograd.grad(term, (student, method.theta))
    return gradients[0], gradients[1]


@pytest.mark.parametrize("theta", [-30.0, -1.0, 0.0, 1.0, 30.0])
def test_temperature_lies_between_its_bounds(theta: float) -> None:
    temperature = at(5, theta).temperature().item()
    assert temperature == pytest.approx(temperature_at(theta), abs=1e-9)
    assert 1 <= temperature <= 21


def test_temperature_starts_at_that_of_the_authors() -> None:
    assert CTKD().temperature().item() == pytest.approx(15.6212, abs=1e-4)


def test_gradient_of_the_temperature_is_reversed_by_the_cosine_and_the_students_is_not() -> None:
    step = 1e-5
    loss = [
        reference.kd(STUDENT.numpy(), TEACHER.numpy(), temperature_at(1 + sign * step)).value for sign in (-1, 0, 1)
    ]
    slope = (loss[2] - loss[0]) / (2 * step)
    assert abs(slope) > 1e-3
    expected = reference.kd(STUDENT.numpy(), TEACHER.numpy(), temperature_at(1)).gradient
    # In epochs 0, 2.5, 5 and 10 half a cosine has risen to these.
    for epoch, strength in [(0, 0), (2.5, (1 - math.cos(math.pi / 4)) / 2), (5, 0.5), (10, 1), (100, 1)]:
        ours, theirs = slopes(at(epoch))
        assert theirs.item() == pytest.approx(-strength * slope, abs=1e-7)
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-9)


def test_strength_rises_from_0_to_1_over_its_epochs_whatever_the_training_takes() -> None:
    method = CTKD(curriculum_epochs=4.0)
    found: list[float] = []
    for num_epochs in (6, 240):
        for epoch in (0, 1, 2, 3, 4, 5):
            method.set_epoch(epoch, num_epochs)
            found.append(method.strength.item())
    assert found == pytest.approx(2 * [(1 - math.cos(math.pi * min(epoch, 4) / 4)) / 2 for epoch in range(6)])


def test_the_value_of_the_term_does_not_depend_on_the_strength() -> None:
    batch = batch_of(torch.zeros(3, 1))
    terms = [at(epoch)(Outputs(STUDENT, {}), Outputs(TEACHER, {}), batch)["ctkd"] for epoch in (0, 3, 10)]
    assert torch.equal(terms[0], terms[1])
    assert torch.equal(terms[0], terms[2])


def test_training_raises_the_loss_by_the_temperature() -> None:
    method = at(10)
    distiller = Distiller(FixedLogits(STUDENT), [method], label_weight=0.0)
    distiller.student.requires_grad_(False)
    optimizer = torch.optim.SGD(distiller.parameters(), lr=1.0)
    losses: list[float] = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = distiller(batch_of(torch.zeros(3, 1)), Outputs(TEACHER, {})).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses)
    assert losses[-1] > losses[0]


def test_the_temperature_is_trained_and_saved_with_the_student_and_goes_on_from_there() -> None:
    distiller = Distiller(small_network(), [CTKD()])
    assert "methods.0.theta" in dict(distiller.named_parameters())
    distiller.set_epoch(10, 20)
    optimizer = torch.optim.SGD(distiller.parameters(), lr=1.0)
    batch = random_batch()
    targets = Outputs(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), {})
    distiller(batch, targets).loss.backward()
    optimizer.step()
    resumed = Distiller(small_network(), [CTKD()])
    resumed.load_state_dict(distiller.state_dict())
    methods = [other.methods[0] for other in (distiller, resumed)]
    assert all(isinstance(method, CTKD) and method.theta != 1 for method in methods)
    assert methods[0].theta == methods[1].theta


def test_saturated_logits_give_finite_gradients_at_every_temperature() -> None:
    student, teacher = 80 * STUDENT.sign(), -80 * TEACHER.sign()
    for theta in (-100.0, 0.0, 100.0):
        method = at(10, theta).float()
        logits = student.float().requires_grad_()
        term = method(Outputs(logits, {}), Outputs(teacher.float(), {}), batch_of(torch.zeros(3, 1)))["ctkd"]
        term.backward()
        assert term.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert method.theta.grad is not None
        assert method.theta.grad.isfinite()
