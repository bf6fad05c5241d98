"""The loss of KDSVD."""

import numpy as np
import pytest
import torch
from reference import singular as reference
from torch import Tensor

from understudy.losses.singular import svd_loss


def maps(
    *, num: int = 2, seed: int, sides: tuple[int, ...] = (3, 2), channels: tuple[int, ...] = (3, 4)
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(num, width, side, side, generator=generator, dtype=torch.float64)
        for width, side in zip(channels, sides, strict=True)
    ]


def gradients(student: list[Tensor], teacher: list[Tensor], num_vectors: int = 1) -> tuple[float, list[Tensor]]:
    features = [feature.clone().requires_grad_() for feature in student]
    loss = svd_loss(features, teacher, num_vectors=num_vectors)
    return loss.item(), list(torch.autograd.grad(loss, features))


def as_arrays(features: list[Tensor]) -> list[reference.Array]:
    return [feature.double().numpy() for feature in features]


@pytest.mark.parametrize("num_vectors", [1, 2])
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("num", [1, 2])
def test_value_and_gradient_are_those_of_the_paper(num: int, stage: int, num_vectors: int) -> None:
    student, teacher = maps(num=num, seed=0), maps(num=num, seed=1, sides=(4, 2))
    value, found = gradients(student, teacher, num_vectors)
    theirs = reference.kdsvd(as_arrays(student), as_arrays(teacher), num_vectors, stage=stage)
    assert value > 1e-3
    assert value == pytest.approx(theirs.value, rel=1e-9)
    assert np.allclose(found[stage].numpy(), theirs.gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_lower_precision(dtype: torch.dtype, tolerance: float) -> None:
    student, teacher = ([feature.to(dtype) for feature in maps(seed=seed)] for seed in (0, 1))
    value, found = gradients(student, teacher)
    exact, expected = gradients([x.double() for x in student], [x.double() for x in teacher])
    assert value == pytest.approx(exact, rel=tolerance)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.double(), theirs, rtol=tolerance, atol=tolerance)


def test_gradcheck() -> None:
    teacher = maps(seed=1)
    features = [feature.requires_grad_() for feature in maps(seed=0)]
    assert torch.autograd.gradcheck(lambda *stages: svd_loss(stages, teacher), features)


def test_zero_for_the_teacher_itself_at_any_scale_and_size() -> None:
    teacher = maps(seed=1)
    assert svd_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-20)
    scaled = [3 * feature for feature in teacher]
    assert svd_loss(scaled, teacher).item() == pytest.approx(0, abs=1e-20)
    # Repeating each position changes no singular vector.
    larger = [feature.repeat_interleave(2, 3) for feature in teacher]
    assert svd_loss(larger, teacher).item() == pytest.approx(0, abs=1e-20)


def test_sign_of_a_map_does_not_matter() -> None:
    student, teacher = maps(seed=0), maps(seed=1)
    turned = [-student[0], student[1]], [teacher[0], -teacher[1]]
    assert svd_loss(*turned).item() == pytest.approx(svd_loss(student, teacher).item(), rel=1e-9)


@pytest.mark.parametrize("kind", ["zeros", "constant", "equal singular values", "nearly equal singular values", "huge"])
def test_gradient_is_finite_where_vectors_are_not_defined(kind: str) -> None:
    features = {
        "zeros": [torch.zeros(2, 4, 2, 2), torch.zeros(2, 4, 2, 2)],
        "constant": [torch.ones(2, 4, 2, 2), torch.ones(2, 4, 2, 2)],
        "equal singular values": [torch.eye(4).view(1, 4, 2, 2).repeat(2, 1, 1, 1)] * 2,
        "nearly equal singular values": [torch.diag(1 + 1e-6 * torch.arange(4)).view(1, 4, 2, 2).repeat(2, 1, 1, 1)]
        * 2,
        "huge": [80 * feature.sign().float() for feature in maps(seed=0, sides=(2, 2), channels=(4, 4))],
    }[kind]
    teacher = [feature.float() for feature in maps(seed=1, sides=(2, 2), channels=(4, 4))]
    value, found = gradients(features, teacher)
    assert np.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in found)
    assert max(gradient.abs().max() for gradient in found) < 1e3


def test_teacher_gets_no_gradient() -> None:
    student, teacher = ([feature.requires_grad_() for feature in maps(seed=seed)] for seed in (0, 1))
    svd_loss(student, teacher).backward()
    assert all(feature.grad is not None for feature in student)
    assert all(feature.grad is None for feature in teacher)


def test_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    student, teacher = maps(seed=0), maps(seed=1)
    compiled = torch.compile(svd_loss, backend="eager", fullgraph=True)
    assert compiled(student, teacher).item() == pytest.approx(svd_loss(student, teacher).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("student", "teacher", "num_vectors", "message"),
    [
        (maps(seed=0)[:1], maps(seed=1)[:1], 1, "two stages or more on both sides, got 1 and 1"),
        (maps(seed=0), maps(seed=1)[:1], 1, "got 2 and 1"),
        (maps(seed=0), maps(seed=1, channels=(3, 5)), 1, "the same channels"),
        (maps(seed=0), maps(seed=1, num=1), 1, "one batch size"),
        (maps(seed=0), maps(seed=1), 4, "4 or more"),
        (maps(seed=0), maps(seed=1), 0, "num_vectors must be 1 or more"),
        ([torch.zeros(2, 3)] * 2, [torch.zeros(2, 3)] * 2, 1, "expected maps"),
    ],
)
def test_what_does_not_fit_is_refused(
    student: list[Tensor], teacher: list[Tensor], num_vectors: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        svd_loss(student, teacher, num_vectors=num_vectors)
