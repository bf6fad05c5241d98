"""What all losses on logits must hold, against their references; what is special to one stands in its own file."""

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import pytest
import torch
from reference import dist, dkd, multi_level, standardize, wsld
from reference import logit as reference
from reference.logit import Loss
from torch import Tensor

from understudy.losses.dist import correlation_losses
from understudy.losses.dkd import decoupled_kd_losses
from understudy.losses.label_smoothing import smoothed_cross_entropy
from understudy.losses.logit import kd_loss
from understudy.losses.logit import standardize as standardized
from understudy.losses.multi_level import multi_level_losses
from understudy.losses.wsld import image_weights, weighted_kd_loss

LossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
Reference = Callable[[reference.Array, reference.Array, list[int]], Loss]
TEMPERATURES = (2.0, 3.5)


def standardized_kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return kd_loss(standardized(student), standardized(teacher), temperature)


def weighted_kd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float | Tensor = 2.0) -> Tensor:
    return weighted_kd_loss(student, teacher, image_weights(student, teacher, labels), temperature)


LOSSES: dict[str, tuple[LossFunction, Reference]] = {
    "dkd-target-1": (lambda s, t, y: decoupled_kd_losses(s, t, y, 1.0).target, partial(dkd.target, temperature=1.0)),
    "dkd-target-4": (lambda s, t, y: decoupled_kd_losses(s, t, y).target, partial(dkd.target, temperature=4.0)),
    "dkd-nontarget-1": (
        lambda s, t, y: decoupled_kd_losses(s, t, y, 1.0).nontarget,
        partial(dkd.nontarget, temperature=1.0),
    ),
    "dkd-nontarget-4": (
        lambda s, t, y: decoupled_kd_losses(s, t, y).nontarget,
        partial(dkd.nontarget, temperature=4.0),
    ),
    "dist-inter-1": (lambda s, t, y: correlation_losses(s, t, 1.0).inter, lambda s, t, y: dist.inter(s, t, 1.0)),
    "dist-inter-4": (lambda s, t, y: correlation_losses(s, t).inter, lambda s, t, y: dist.inter(s, t, 4.0)),
    "dist-intra-4": (lambda s, t, y: correlation_losses(s, t).intra, lambda s, t, y: dist.intra(s, t, 4.0)),
    "mlkd-instance": (
        lambda s, t, y: multi_level_losses(s, t, TEMPERATURES).instance,
        lambda s, t, y: multi_level.instance(s, t, TEMPERATURES),
    ),
    "mlkd-class": (
        lambda s, t, y: multi_level_losses(s, t, TEMPERATURES).classes,
        lambda s, t, y: multi_level.classes(s, t, TEMPERATURES),
    ),
    "mlkd-batch": (
        lambda s, t, y: multi_level_losses(s, t, TEMPERATURES).batch,
        lambda s, t, y: multi_level.batch(s, t, TEMPERATURES),
    ),
    "wsld": (weighted_kd, partial(wsld.weighted_kd, temperature=2.0)),
    "standardized-kd": (lambda s, t, y: standardized_kd(s, t, 2.0), lambda s, t, y: standardize.kd(s, t, 2.0)),
    "label-smoothing": (
        lambda s, t, y: smoothed_cross_entropy(s, y, 0.125),
        lambda s, t, y: reference.cross_entropy(s, y, 0.125),
    ),
}
WITH_TEACHER = [name for name in LOSSES if name != "label-smoothing"]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}


class Case:
    """Logits that bfloat16 holds exactly, so that one reference serves every precision, and labels."""

    def __init__(self, num: int, num_classes: int, *, seed: int, scale: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        draw = partial(torch.randn, num, num_classes, generator=generator, dtype=torch.float64)
        self.student = (scale * draw()).bfloat16().double()
        self.teacher = (scale * draw()).bfloat16().double()
        self.labels = torch.randint(num_classes, (num,), generator=generator)


def equal() -> Case:
    case = Case(4, 5, seed=1)
    case.teacher = case.student.clone()
    return case


def huge() -> Case:
    case = Case(6, 4, seed=2)
    case.student, case.teacher = 80 * case.student.sign(), 80 * case.teacher.sign()
    return case


CASES: dict[str, Case] = {
    "random": Case(6, 5, seed=0),
    "equal": equal(),
    "huge": huge(),
    "one": Case(1, 5, seed=3),
    "two-classes": Case(5, 2, seed=4),
    "thirty-classes": Case(2, 30, seed=5),
}


def computed(loss: LossFunction, student: Tensor, teacher: Tensor, labels: Tensor) -> Loss:
    logits = student.clone().requires_grad_()
    value = loss(logits, teacher, labels)
    value.backward()
    assert logits.grad is not None
    return Loss(value.item(), logits.grad.double().numpy())


@cache
def expected(name: str, kind: str) -> Loss:
    case = CASES[kind]
    return LOSSES[name][1](case.student.numpy(), case.teacher.numpy(), case.labels.tolist())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_paper(name: str, kind: str, dtype: torch.dtype) -> None:
    case, tolerance = CASES[kind], TOLERANCE[dtype]
    ours = computed(LOSSES[name][0], case.student.to(dtype), case.teacher.to(dtype), case.labels)
    theirs = expected(name, kind)
    assert np.isfinite(theirs.gradient).all()
    assert ours.value == pytest.approx(theirs.value, rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    case = CASES["random"]
    # The weights of wsld are constants for its gradient, so its slope is another: see test_wsld.py.
    if name != "wsld":
        logits = case.student.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda student: LOSSES[name][0](student, case.teacher, case.labels), logits)


def saturated(dtype: torch.dtype) -> dict[str, Sequence[Tensor]]:
    """Student and teacher sure of the same class, of different ones, of all alike; one image and two."""
    right, wrong = torch.tensor([[80.0, -80, -80]]), torch.tensor([[-80.0, 80, -80]])
    even, label = torch.zeros(1, 3), torch.tensor([0])
    cases = {
        "both right": (right, right, label),
        "student wrong": (wrong, right, label),
        "teacher wrong": (right, wrong, label),
        "both wrong": (wrong, wrong, label),
        "student even": (even, right, label),
        "teacher even": (right, even, label),
        "all even": (even, even, label),
        "equal rows": (wrong.repeat(2, 1), right.repeat(2, 1), label.repeat(2)),
    }
    return {name: (student.to(dtype), teacher.to(dtype), labels) for name, (student, teacher, labels) in cases.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", saturated(torch.float32))
@pytest.mark.parametrize("name", LOSSES)
def test_saturated_logits_give_finite_values_and_gradients(name: str, kind: str, dtype: torch.dtype) -> None:
    student, teacher, labels = saturated(dtype)[kind]
    found = computed(LOSSES[name][0], student, teacher, labels)
    assert np.isfinite(found.value)
    assert np.isfinite(found.gradient).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    case = CASES["random"]
    student, teacher = case.student.to(dtype), case.teacher.to(dtype)
    found = LOSSES[name][0](student, teacher, case.labels)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected(name, "random").value, rel=1e-2)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_teacher_gets_no_gradient(name: str) -> None:
    case = CASES["random"]
    student, teacher = case.student.clone().requires_grad_(), case.teacher.clone().requires_grad_()
    LOSSES[name][0](student, teacher, case.labels).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_zero_at_equality_and_above_it_elsewhere(name: str) -> None:
    loss, case = LOSSES[name][0], CASES["random"]
    assert loss(case.student, case.student, case.labels).item() == pytest.approx(0, abs=1e-5)
    assert loss(case.student, case.teacher, case.labels).item() > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_a_constant_added_to_an_images_logits_changes_nothing(name: str) -> None:
    loss, case = LOSSES[name][0], CASES["random"]
    shift = torch.linspace(-30, 30, len(case.labels), dtype=torch.float64)[:, None]
    found = loss(case.student + shift, case.teacher - shift, case.labels)
    assert found.item() == pytest.approx(loss(case.student, case.teacher, case.labels).item(), abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_permuting_images_and_classes_permutes_the_gradient(name: str) -> None:
    loss, case = LOSSES[name][0], CASES["random"]
    rows, columns = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([2, 4, 1, 0, 3])
    renamed = columns.argsort()[case.labels]
    before = computed(loss, case.student, case.teacher, case.labels)
    after = computed(loss, case.student[rows][:, columns], case.teacher[rows][:, columns], renamed[rows])
    assert after.value == pytest.approx(before.value, abs=1e-12)
    np.testing.assert_allclose(after.gradient, before.gradient[rows.numpy()][:, columns.numpy()], atol=1e-12)


@pytest.mark.parametrize("name", WITH_TEACHER)
@pytest.mark.parametrize(
    ("student", "teacher"), [((2, 3), (2, 1)), ((2, 3), (1, 3)), ((2, 3, 1), (2, 3, 1)), ((3,), (3,)), ((0, 3), (0, 3))]
)
def test_shapes_that_would_broadcast_are_refused(name: str, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits must.*shape.*\d"):
        LOSSES[name][0](torch.zeros(student), torch.zeros(teacher), torch.zeros(student[0], dtype=torch.int64))


@pytest.mark.parametrize("name", ["dkd-target-4", "dkd-nontarget-4", "wsld", "label-smoothing"])
@pytest.mark.parametrize("labels", [torch.tensor([0]), torch.tensor([[0, 1]]), torch.tensor([0.0, 1.0])])
def test_labels_that_do_not_go_with_the_logits_are_refused(name: str, labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"labels must be class ids of shape \(2,\), got"):
        LOSSES[name][0](torch.zeros(2, 3), torch.zeros(2, 3), labels)


@pytest.mark.parametrize("name", ["dkd-target-4", "dkd-nontarget-4", "wsld", "label-smoothing"])
def test_one_class_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="two classes or more"):
        LOSSES[name][0](torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([0, 0]))


SOFTENED: dict[str, Callable[[Tensor, Tensor, Tensor, float | Tensor], Tensor]] = {
    "dkd-target": lambda s, t, y, temperature: decoupled_kd_losses(s, t, y, temperature).target,
    "dkd-nontarget": lambda s, t, y, temperature: decoupled_kd_losses(s, t, y, temperature).nontarget,
    "dist-inter": lambda s, t, y, temperature: correlation_losses(s, t, temperature).inter,
    "dist-intra": lambda s, t, y, temperature: correlation_losses(s, t, temperature).intra,
    "mlkd": lambda s, t, y, temperature: (
        multi_level_losses(s, t, temperature[None] if isinstance(temperature, Tensor) else [temperature]).classes
    ),
    "wsld": weighted_kd,
}


@pytest.mark.parametrize("name", SOFTENED)
@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_temperature_must_be_above_zero(name: str, temperature: float) -> None:
    case = CASES["random"]
    with pytest.raises(ValueError, match=f"temperature must be above 0, got {temperature}"):
        SOFTENED[name](case.student, case.teacher, case.labels, temperature)


@pytest.mark.parametrize("name", SOFTENED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperature_may_be_a_tensor(name: str, dtype: torch.dtype) -> None:
    case = CASES["random"]
    student, teacher = case.student.to(dtype), case.teacher.to(dtype)
    found = SOFTENED[name](student, teacher, case.labels, torch.tensor(3.0))
    assert found.dtype == dtype
    assert found.shape == ()
    assert torch.allclose(found, SOFTENED[name](student, teacher, case.labels, 3.0))
