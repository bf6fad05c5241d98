import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import relation as reference
from torch import Tensor
from torch.testing import assert_close

from understudy.losses.relation import cc_loss, ickd_loss, pkt_loss, sp_loss
from understudy.losses.rkd import rkd_angle_loss, rkd_distance_loss
from understudy.losses.unit import unit

LossFunction = Callable[[Tensor, Tensor], Tensor]
Reference = Callable[[reference.Array, reference.Array], float]

LOSSES: dict[str, tuple[LossFunction, Reference]] = {
    "sp": (sp_loss, reference.sp),
    "pkt": (pkt_loss, reference.pkt),
    "cc": (cc_loss, reference.cc),
    "cc-3": (partial(cc_loss, gamma=1.0, order=3), partial(reference.cc, gamma=1.0, order=3)),
    "rkd-distance": (rkd_distance_loss, reference.rkd_distance),
    "rkd-angle": (rkd_angle_loss, reference.rkd_angle),
    "ickd": (ickd_loss, reference.ickd),
}
VECTORS = [name for name in LOSSES if name != "ickd"]


def features(name: str, num: int, width: int, *, seed: int, size: int = 3) -> Tensor:
    """Vectors, or maps where the loss wants maps."""
    shape = (num, width, size, 2) if name == "ickd" else (num, width)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def pair(name: str, num: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Another size of maps, or another width of vectors, on the teacher's side."""
    width = 3 if name == "ickd" else 4
    return features(name, num, 3, seed=seed), features(name, num, width, seed=seed + 1, size=2)


def gradient(loss: LossFunction, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    given_ = student.clone().requires_grad_()
    value = loss(given_, teacher)
    value.backward()
    assert given_.grad is not None
    return value.detach(), given_.grad


@pytest.mark.parametrize("num", [2, 5])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_paper(name: str, num: int) -> None:
    loss, paper = LOSSES[name]
    student, teacher = pair(name, num)
    value, slope = gradient(loss, student, teacher)
    expected = reference.slope(lambda moved: paper(moved, teacher.numpy()), student.numpy())
    assert value.item() == pytest.approx(paper(student.numpy(), teacher.numpy()), rel=1e-10, abs=1e-12)
    assert np.abs(expected).max() > 1e-4 or num == 2
    assert_close(slope.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    student, teacher = pair(name, 4)
    assert torch.autograd.gradcheck(lambda given_: LOSSES[name][0](given_, teacher), student.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_float32_is_close_and_half_precision_finite(name: str) -> None:
    loss, _ = LOSSES[name]
    student, teacher = pair(name, 6)
    exact, _ = gradient(loss, student, teacher)
    assert_close(loss(student.float(), teacher.float()).double(), exact, rtol=1e-5, atol=1e-6)
    value, slope = gradient(loss, student.bfloat16(), teacher.bfloat16())
    assert value.dtype == torch.float32
    assert_close(value.double(), exact, rtol=0.1, atol=1e-3)
    assert slope.isfinite().all()


# Two alike against two at a right angle; three in a row, the middle one between, against an equilateral triangle.
ALIKE, SQUARE = torch.tensor([[1.0, 0], [2, 0]]), torch.tensor([[1.0, 0], [0, 3]])
ROW, TRIANGLE = torch.tensor([[0.0], [1], [2]]), torch.tensor([[0.0, 0], [1, 0], [0.5, 0.75**0.5]])
ALIKE_MAPS = torch.ones(1, 2, 2, 1)
GOLDEN: dict[str, tuple[LossFunction, Tensor, Tensor, float]] = {
    "sp": (sp_loss, torch.ones(2, 2), SQUARE, (2 - 2**0.5) / 2),
    "pkt": (pkt_loss, ALIKE, SQUARE, (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)) / 2),
    "cc": (cc_loss, ALIKE, SQUARE, 0.6272 * math.exp(-1.6)),
    "rkd-distance": (rkd_distance_loss, ROW, TRIANGLE, 1 / 24),
    "rkd-angle": (rkd_angle_loss, ROW, TRIANGLE, 2.5 / 27),
    "ickd": (ickd_loss, ALIKE_MAPS, SQUARE.view(1, 2, 1, 2), 2 - 2**0.5),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_value_by_hand(name: str) -> None:
    loss, student, teacher, value = GOLDEN[name]
    assert loss(student.double(), teacher.double()).item() == pytest.approx(value, abs=1e-7)


KIND = st.sampled_from(sorted(LOSSES))


@given(KIND, st.integers(1, 6), st.integers(0, 2**20))
def test_zero_at_equality_and_never_negative(name: str, num: int, seed: int) -> None:
    loss, _ = LOSSES[name]
    student, teacher = pair(name, num, seed=seed)
    assert loss(student, student).item() == pytest.approx(0, abs=1e-12)
    assert loss(student, teacher).item() >= -1e-12


@given(KIND, st.sampled_from([0.01, 3.0, 1000.0]), st.integers(0, 2**20))
def test_the_scale_of_either_side_does_not_matter(name: str, scale: float, seed: int) -> None:
    loss, _ = LOSSES[name]
    student, teacher = pair(name, 4, seed=seed)
    expected = loss(student, teacher)
    assert_close(loss(scale * student, teacher), expected, rtol=1e-8, atol=1e-10)
    assert_close(loss(student, scale * teacher), expected, rtol=1e-8, atol=1e-10)


@given(st.sampled_from(VECTORS), st.integers(0, 2**20))
def test_a_rotation_of_features_and_the_order_of_images_do_not_matter(name: str, seed: int) -> None:
    loss, _ = LOSSES[name]
    student, teacher = pair(name, 5, seed=seed)
    expected = loss(student, teacher)
    rotation = torch.linalg.qr(features(name, 3, 3, seed=seed + 2)).Q
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    assert_close(loss(student @ rotation, teacher), expected, rtol=1e-8, atol=1e-10)
    assert_close(loss(student[order], teacher[order]), expected, rtol=1e-8, atol=1e-10)
    # Only the student's rows moved: another loss.
    assert not torch.allclose(loss(student[[1, 2, 3, 4, 0]], teacher), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [rkd_distance_loss, rkd_angle_loss])
def test_distances_and_angles_do_not_depend_on_the_origin(loss: LossFunction) -> None:
    student, teacher = pair("rkd", 5)
    assert_close(loss(student + 3, teacher - 2), loss(student, teacher), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(sp_loss(student + 3, teacher), sp_loss(student, teacher), rtol=1e-3)


def extremes(name: str) -> dict[str, Tensor]:
    whole = features(name, 4, 3, seed=0)
    copies = whole[:1].expand_as(whole).clone()
    twins = whole.clone()
    twins[1] = twins[0]
    dead = whole.clone()
    dead[0] = 0
    dead[:, 1] = 0
    return {
        "equal": copies,
        "zero": torch.zeros_like(whole),
        "twins": twins,
        "dead": dead,
        "opposite": torch.stack([whole[0], -whole[0], 2 * whole[0], -3 * whole[0]]),
        "saturated": 80 * whole.sign(),
        "nearly equal": copies + 1e-8 * whole,
        "tiny": 1e-20 * whole,
        "huge": 1e9 * whole,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_features_stay_finite_on_either_side(name: str, dtype: torch.dtype) -> None:
    loss, _ = LOSSES[name]
    ordinary = features(name, 4, 3, seed=9).to(dtype)
    for kind, extreme in extremes(name).items():
        for student, teacher in ((extreme.to(dtype), ordinary), (ordinary, extreme.to(dtype))):
            value, slope = gradient(loss, student, teacher)
            assert value.isfinite(), kind
            assert slope.isfinite().all(), kind
            # A feature of size 1e-20 has a direction still, if no pair of such features has.
            assert kind in ("tiny", "nearly equal") or slope.abs().max() < 100, kind


@pytest.mark.parametrize("name", VECTORS)
def test_a_batch_of_one_has_no_relations(name: str) -> None:
    student, teacher = pair(name, 1)
    for dtype in (torch.float32, torch.float64):
        value, slope = gradient(LOSSES[name][0], student.to(dtype), teacher.to(dtype))
        assert value.item() == pytest.approx(0, abs=1e-7)
        assert slope.abs().max() < 1e-6


@pytest.mark.parametrize("loss", [rkd_distance_loss, rkd_angle_loss])
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_collapsed_features_do_not_explode(loss: LossFunction, noise: float) -> None:
    """Division by a length of 1e-12 gives gradients of 1e11."""
    ordinary = features("rkd", 6, 8, seed=0).float()
    student = torch.ones(6, 8) + noise * torch.arange(48).view(6, 8).remainder(2)
    value, slope = gradient(loss, student, ordinary)
    assert value.isfinite()
    # What lies apart by a rounding has distances with their directions, but no angles.
    assert slope.abs().max() <= (0 if loss is rkd_angle_loss or not noise else 1e8)


def test_corners_in_chunks_are_all_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = pair("rkd", 7)
    expected = gradient(rkd_angle_loss, student, teacher)
    for chunk in (1, 2 * 7 * 7, 5 * 7 * 7):
        monkeypatch.setattr("understudy.losses.rkd.CHUNK", chunk)
        assert_close(gradient(rkd_angle_loss, student, teacher), expected, rtol=1e-12, atol=1e-14)


def test_collapsed_students_are_not_congruent() -> None:
    """RepDistiller's loss of that name is 0 there, since it trains an embedding of the teacher that collapses too."""
    student, teacher = pair("cc", 5)
    assert cc_loss(torch.ones_like(student), teacher) > 2 * cc_loss(student, teacher)


@pytest.mark.parametrize("name", VECTORS)
def test_wrong_shapes_are_refused(name: str) -> None:
    loss, _ = LOSSES[name]
    with pytest.raises(ValueError, match=r"of one batch, got \(3, 2\) and \(4, 2\)"):
        loss(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match="empty"):
        loss(torch.ones(0, 2), torch.ones(0, 2))
    if name != "sp":
        with pytest.raises(ValueError, match=r"\(batch, width\)"):
            loss(torch.ones(3, 2, 1, 1), torch.ones(3, 2, 1, 1))


def test_wrong_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="maps"):
        ickd_loss(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match="one width"):
        ickd_loss(torch.ones(3, 2, 1, 1), torch.ones(3, 4, 1, 1))
    with pytest.raises(ValueError, match="of one batch"):
        ickd_loss(torch.ones(3, 2, 1, 1), torch.ones(1, 2, 1, 1))


@pytest.mark.parametrize("settings", [{"gamma": 0.0}, {"gamma": float("nan")}, {"order": 0}])
def test_wrong_kernels_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="gamma must be above 0"):
        cc_loss(torch.ones(3, 2), torch.ones(3, 2), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LOSSES)
def test_no_gradient_flows_to_the_teacher(name: str) -> None:
    student, teacher = pair(name, 4)
    teacher.requires_grad_()
    LOSSES[name][0](student.requires_grad_(), teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("name", LOSSES)
def test_it_compiles_into_one_graph(name: str) -> None:
    loss, _ = LOSSES[name]
    student, teacher = pair(name, 4)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    assert_close(gradient(compiled, student, teacher), gradient(loss, student, teacher), rtol=1e-9, atol=1e-12)
    torch.compiler.reset()


def test_unit_vectors() -> None:
    vectors = torch.tensor([[3.0, 4], [0, 0], [1e-13, 0]], requires_grad=True)
    found = unit(vectors)
    found.sum().backward()
    assert_close(found, torch.tensor([[0.6, 0.8], [0, 0], [0, 0]]))
    assert vectors.grad is not None
    assert_close(vectors.grad, torch.tensor([[0.032, -0.024], [0, 0], [0, 0]]))
