"""Losses on maps and pre-activations: VID, FT, AB, OFD, ReviewKD."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import boundary, factor, pyramid, variational
from reference import partial as reference_partial
from reference.logit import Array, Loss
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from understudy.losses.boundary import boundary_loss
from understudy.losses.factor import factor_loss
from understudy.losses.partial import measured_margin, normal_margin, partial_l2_loss
from understudy.losses.pyramid import pyramid_loss
from understudy.losses.spatial import pool_to, pooling_layer
from understudy.losses.variational import MIN_VARIANCE, variance_of, vid_loss

LossFunction = Callable[[Tensor, Tensor], Tensor]
Reference = Callable[[Array, Array], Loss]

VARIANCE = torch.tensor([0.3, 5.0, 1.0], dtype=torch.float64)
MARGIN = torch.tensor([-0.4, -1.5, 0.0], dtype=torch.float64)
LOSSES: dict[str, tuple[LossFunction, Reference]] = {
    "vid": (partial(vid_loss, variance=VARIANCE), partial(variational.vid, variance=VARIANCE.numpy())),
    "ft": (factor_loss, factor.ft),
    "ab": (boundary_loss, partial(boundary.ab, margin=1.0)),
    "ab-2": (partial(boundary_loss, margin=2.0), partial(boundary.ab, margin=2.0)),
    "ofd": (partial(partial_l2_loss, margin=MARGIN), partial(reference_partial.ofd, margin=MARGIN.numpy())),
    "hcl": (pyramid_loss, pyramid.hcl),
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def random_map(num: int, side: int, *, seed: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, channels, side, side, generator=generator, dtype=torch.float64)


INPUTS: dict[str, tuple[Tensor, Tensor]] = {
    "random": (random_map(2, 4, seed=0), random_map(2, 4, seed=1)),
    "odd": (random_map(1, 5, seed=0), random_map(1, 5, seed=1)),
    "equal": (random_map(2, 3, seed=0), random_map(2, 3, seed=0)),
    "huge": (80 * random_map(2, 3, seed=0).sign(), 80 * random_map(2, 3, seed=1).sign()),
    "one": (random_map(1, 1, seed=0), random_map(1, 1, seed=1)),
}


def computed(loss: LossFunction, student: Tensor, teacher: Tensor) -> Loss:
    feature = student.clone().requires_grad_()
    value = loss(feature, teacher)
    value.backward()
    assert feature.grad is not None
    return Loss(value.item(), feature.grad.double().numpy())


@cache
def expected(name: str, kind: str, dtype: torch.dtype) -> Loss:
    student, teacher = (feature.to(dtype).double().numpy() for feature in INPUTS[kind])
    return LOSSES[name][1](student, teacher)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_paper(name: str, kind: str, dtype: torch.dtype) -> None:
    student, teacher = (feature.to(dtype) for feature in INPUTS[kind])
    ours, theirs = computed(LOSSES[name][0], student, teacher), expected(name, kind, dtype)
    tolerance = TOLERANCE[dtype]
    assert ours.value == pytest.approx(theirs.value, rel=tolerance, abs=tolerance)
    assert np.isfinite(ours.gradient).all()
    if name == "ft" and kind in ("equal", "huge"):
        # Where an absolute value is 0 any slope between its two is right.
        assert np.abs(ours.gradient).max() < 1
        return
    assert np.allclose(ours.gradient, theirs.gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    student, teacher = INPUTS["random"]
    assert torch.autograd.gradcheck(lambda feature: LOSSES[name][0](feature, teacher), student.clone().requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_teacher_gets_no_gradient(name: str) -> None:
    student, teacher = (feature.clone().requires_grad_() for feature in INPUTS["random"])
    LOSSES[name][0](student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("name", LOSSES)
def test_batch_is_the_mean_of_its_images(name: str) -> None:
    student, teacher = INPUTS["random"]
    loss, _ = LOSSES[name]
    alone = [loss(student[i : i + 1], teacher[i : i + 1]) for i in range(len(student))]
    assert torch.allclose(loss(student, teacher), torch.stack(alone).mean(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 4, 1), (2, 1, 4, 4), (1, 3, 4, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_would_broadcast_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        LOSSES[name][0](INPUTS["random"][0], torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: vid_loss(x, x, VARIANCE[:1]), "variance must be one for each of 3 channels"),
        (lambda x: partial_l2_loss(x, x, MARGIN[:1]), "margin must be one for each of 3 channels"),
        (lambda x: boundary_loss(x, x, 0.0), "margin must be above 0, got 0"),
        (lambda x: pyramid_loss(x[:, :, 0], x[:, :, 0]), "expected maps"),
        (lambda x: factor_loss(x[:0], x[:0]), "must not be empty"),
    ],
)
def test_wrong_arguments_are_refused(call: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(INPUTS["random"][0])


SEEDS = st.integers(0, 2**20)


@given(SEEDS, st.floats(0.1, 50))
def test_factor_loss_is_blind_to_the_size_of_a_factor(seed: int, scale: float) -> None:
    student, teacher = random_map(2, 3, seed=seed), random_map(2, 3, seed=seed + 1)
    assert factor_loss(scale * teacher, teacher).item() == pytest.approx(0, abs=1e-15)
    assert factor_loss(scale * student, teacher).item() == pytest.approx(factor_loss(student, teacher).item(), rel=1e-9)
    # The L1 norm of the difference of two unit vectors of N elements is at most 2 sqrt(N).
    assert 0 < factor_loss(student, teacher).item() <= 2 / 27**0.5


def test_factor_loss_of_nothing_is_finite() -> None:
    nothing = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    found = computed(factor_loss, nothing, INPUTS["random"][1])
    assert found.value > 0
    # Nothing has no direction to turn.
    assert not found.gradient.any()


@pytest.mark.parametrize("sizes", [((8, 12), (4, 3)), ((7, 7), (7, 1)), ((5, 8), (3, 4))])
def test_pooling_layer_is_adaptive_pooling(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    before, after = sizes
    values = torch.rand(2, 3, *before, dtype=torch.float64)
    expected = adaptive_avg_pool2d(values, after)
    layer = pooling_layer(before, after)
    torch.testing.assert_close(layer(values), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(pool_to(values, after), expected, rtol=1e-12, atol=0)
    # Adaptive pooling only where windows overlap: its gradient is not deterministic on CUDA.
    assert isinstance(layer, nn.AvgPool2d) == (sizes[0] != (5, 8))


@given(SEEDS)
def test_boundary_loss_asks_for_the_sign_and_the_margin_only(seed: int) -> None:
    student, teacher = random_map(2, 3, seed=seed), random_map(2, 3, seed=seed + 1)
    assert boundary_loss(student, 7 * teacher).item() == boundary_loss(student, teacher).item()
    assert boundary_loss(teacher.sign(), teacher).item() == 0
    assert boundary_loss(0.999 * teacher.sign(), teacher).item() > 0


def test_boundary_loss_on_the_boundary() -> None:
    # A teacher of 0 is inactive: (0.5 + 1)^2 and, on the right side by the margin, 0.
    student, teacher = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.0, 0.0]])
    assert boundary_loss(student, teacher).item() == pytest.approx(2.25)


def test_partial_l2_lets_a_cut_off_response_be_any_negative() -> None:
    margin = torch.tensor([-0.5])
    student = torch.tensor([[-9.0], [-0.5], [0.25], [-1.0]])
    teacher = torch.tensor([[-0.2], [-3.0], [-3.0], [2.0]])
    each = [partial_l2_loss(s[None], t[None], margin).item() for s, t in zip(student, teacher, strict=True)]
    # Below a negative target; at the margin; above the clipped target; below a positive target.
    assert each == pytest.approx([0, 0, 0.75**2, 9])


@given(SEEDS)
def test_partial_l2_is_zero_at_the_clipped_teacher_and_below_where_it_is_negative(seed: int) -> None:
    teacher = random_map(2, 3, seed=seed)
    clipped = torch.maximum(teacher, MARGIN.view(3, 1, 1))
    below = torch.where(clipped > 0, clipped, clipped - 5)
    assert partial_l2_loss(clipped, teacher, MARGIN).item() == 0
    assert partial_l2_loss(below, teacher, MARGIN).item() == 0
    assert partial_l2_loss(clipped + 0.1, teacher, MARGIN).item() > 0


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.5, 1.0), (-2.0, 0.5), (0.9, 0.3), (-30.0, 1.0)])
def test_normal_margin_is_the_expected_negative_response(mean: float, deviation: float) -> None:
    found = normal_margin(torch.tensor([mean]).double(), torch.tensor([deviation]).double())
    assert found.item() == pytest.approx(reference_partial.expected_negative(mean, deviation), rel=1e-6)


def test_normal_margin_of_a_half_normal_is_known() -> None:
    assert normal_margin(torch.zeros(1), torch.ones(1)).item() == pytest.approx(-((2 / np.pi) ** 0.5), rel=1e-6)


def test_normal_margin_where_hardly_anything_is_negative() -> None:
    mean, deviation = torch.tensor([4.0, 1e6, 3.0, -3.0, 0.0]), torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0])
    # No deviation at all: the response is the mean, which is not negative or is its own expectation.
    assert normal_margin(mean, deviation).tolist() == [-3, -6, 0, -3, 0]


def test_measured_margin_is_the_mean_of_negative_responses() -> None:
    feature = torch.tensor([[[-1.0, 2.0], [1.0, 2.0]], [[-4.0, 0.0], [0.0, 3.0]]])
    assert measured_margin(feature).tolist() == [-2.5, 0]


def test_measured_margin_of_a_batchnorm_output_tends_to_the_formula() -> None:
    mean, deviation = torch.tensor([0.3, -0.5, 0.0]).double(), torch.tensor([1.0, 2.0, 0.1]).double()
    responses = mean.view(3, 1, 1) + deviation.view(3, 1, 1) * random_map(4, 64, seed=0)
    assert torch.allclose(measured_margin(responses), normal_margin(mean, deviation), rtol=3e-2)


@given(SEEDS)
def test_pyramid_loss_counts_what_averages_share(seed: int) -> None:
    teacher = random_map(2, 8, seed=seed)
    assert pyramid_loss(teacher, teacher).item() == 0
    # A constant offset stands on every level, a checkerboard only on the finest.
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double().repeat(4, 4)
    assert pyramid_loss(teacher + 2, teacher).item() == pytest.approx(4, rel=1e-9)
    assert pyramid_loss(teacher + 2 * board, teacher).item() == pytest.approx(4 / 1.875, rel=1e-9)


def test_vid_gradient_of_the_variance() -> None:
    mean, teacher = INPUTS["random"]
    variance = VARIANCE.clone().requires_grad_()
    vid_loss(mean, teacher, variance).backward()
    found = variational.vid_of_variance(mean.numpy(), teacher.numpy(), VARIANCE.numpy())
    assert variance.grad is not None
    assert np.allclose(variance.grad.numpy(), found.gradient, rtol=1e-10, atol=1e-12)


@given(SEEDS)
def test_vid_is_least_at_the_mean_squared_error(seed: int) -> None:
    mean, teacher = random_map(2, 3, seed=seed), random_map(2, 3, seed=seed + 1)
    errors = (mean - teacher).square().mean((0, 2, 3))
    least = vid_loss(mean, teacher, errors)
    assert least.item() == pytest.approx((1 + errors.log()).mean().item() / 2, rel=1e-9)
    assert vid_loss(mean, teacher, 1.1 * errors) > least
    assert vid_loss(mean, teacher, 0.9 * errors) > least


def test_variance_is_above_zero_and_finite() -> None:
    scale = torch.tensor([-200.0, 0.0, 200.0], requires_grad=True)
    variance = variance_of(scale)
    variance.sum().backward()
    assert variance.tolist() == pytest.approx([MIN_VARIANCE, np.log(2) + MIN_VARIANCE, 200], rel=1e-5)
    assert scale.grad is not None
    assert torch.isfinite(scale.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_compiles_as_one_graph(name: str) -> None:
    torch._dynamo.reset()
    student, teacher = INPUTS["random"]
    loss, _ = LOSSES[name]
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(student, teacher), loss(student, teacher), rtol=1e-12)
