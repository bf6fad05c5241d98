from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import feature as reference
from reference.feature import Loss
from torch import Tensor, nn

from understudy.losses.attention import attention_loss, attention_map
from understudy.losses.fsp import fsp_loss, fsp_matrix
from understudy.losses.hint import hint_loss
from understudy.losses.mimic import mimic_loss
from understudy.losses.nst import nst_loss

LossFunction = Callable[[Tensor, Tensor], Tensor]
Reference = Callable[[reference.Array, reference.Array], float]
Shape = tuple[int, ...]

STUDENT = torch.arange(1.0, 9, dtype=torch.float64).view(1, 2, 2, 2)
TEACHER = torch.tensor([[[[1, 0], [0, 1]], [[2, 1], [1, 2]]]], dtype=torch.float64)


def random_maps(shape: Shape, *, seed: int = 0) -> Tensor:
    """Of both signs, and none near 0, where the L1 norm and the maximum have a corner."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return noise + 0.1 * noise.sign()


# The second map of an FSP pair is made of the first, so that both have the gradient.
def end_of(start: Tensor) -> Tensor:
    return start[:, :1, ::2, ::2] ** 2 + start[:, :1, 1::2, 1::2]


def end_of_array(start: reference.Array) -> reference.Array:
    return start[:, :1, ::2, ::2] ** 2 + start[:, :1, 1::2, 1::2]


def flow_loss(student: Tensor, teacher: Tensor, *, pooling: str) -> Tensor:
    return fsp_loss((student, end_of(student)), (teacher, end_of(teacher)), pooling=pooling)


def flow_reference(student: reference.Array, teacher: reference.Array, *, pooling: str) -> float:
    return reference.fsp((student, end_of_array(student)), (teacher, end_of_array(teacher)), pooling)


EQUAL, OTHER_WIDTH, OTHER_SIZE = (3, 3, 4, 4), (3, 5, 4, 4), (3, 3, 6, 6)
OTHER_BOTH: Shape = (3, 5, 3, 3)
LOSSES: dict[str, tuple[LossFunction, Reference, list[Shape]]] = {
    **{
        f"hint-{norm}": (partial(hint_loss, norm=norm), partial(reference.hint, norm=norm), [EQUAL])
        for norm in ("mean", "paper")
    },
    **{
        f"at-{mapping}-{p}-{norm}": (
            partial(attention_loss, mapping=mapping, p=p, norm=norm),
            partial(reference.attention, mapping=mapping, p=p, norm=norm),
            [EQUAL, OTHER_WIDTH, OTHER_SIZE, OTHER_BOTH],
        )
        for mapping, p, norm in [
            ("sum", 2, "mean"),
            ("sum_p", 2, "mean"),
            ("sum_p", 4, "paper"),
            ("max_p", 2, "paper"),
            ("max_p", 4, "mean"),
        ]
    },
    **{
        f"nst-{kernel}": (
            partial(nst_loss, kernel=kernel),
            partial(reference.nst, kernel=kernel),
            [EQUAL, OTHER_WIDTH, OTHER_SIZE, OTHER_BOTH, (3, 5, 1, 2)],
        )
        for kernel in ("linear", "polynomial", "gaussian")
    },
    **{
        f"fsp-{pooling}": (
            partial(flow_loss, pooling=pooling),
            partial(flow_reference, pooling=pooling),
            [EQUAL, OTHER_SIZE],
        )
        for pooling in ("mean", "max")
    },
    **{
        f"mimic-{what}-{distance}-{scale}": (
            partial(mimic_loss, what=what, distance=distance, scale=scale),
            partial(reference.mimic, what=what, distance=distance, scale=scale),
            shapes,
        )
        for what, shapes in {
            "attention": [EQUAL, OTHER_BOTH],
            "feature": [EQUAL],
            "gram": [EQUAL, OTHER_SIZE],
            "similarity": [EQUAL, OTHER_BOTH],
        }.items()
        for distance, scale in [("l1", "unit"), ("l2", "unit"), ("l2", "raw")]
    },
}
CASES = [(name, shape) for name, (_, _, shapes) in LOSSES.items() for shape in shapes]


def computed(loss: LossFunction, student: Tensor, teacher: Tensor) -> Loss:
    leaf = student.clone().requires_grad_()
    value = loss(leaf, teacher)
    value.backward()
    assert leaf.grad is not None
    return Loss(value.item(), leaf.grad.double().numpy())


def of_paper(name: str, student: Tensor, teacher: Tensor) -> Loss:
    _, paper, _ = LOSSES[name]
    ours, theirs = student.double().numpy(), teacher.double().numpy()
    if name == "nst-gaussian":
        # The bandwidth is a constant: it stays while the student moves.
        paper = partial(paper, widths=reference.bandwidths(ours, theirs))
    return Loss(paper(ours, theirs), reference.slope(lambda moved: paper(moved, theirs), ours))


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_value_and_gradient_are_those_of_the_paper(name: str, shape: Shape) -> None:
    student, teacher = random_maps((2, *EQUAL[1:])), random_maps((2, *shape[1:]), seed=1)
    ours, theirs = computed(LOSSES[name][0], student, teacher), of_paper(name, student, teacher)
    assert theirs.value > 1e-3
    assert ours.value == pytest.approx(theirs.value, rel=1e-10)
    np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_single_and_half_precision(name: str, shape: Shape) -> None:
    loss, paper, _ = LOSSES[name]
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 1e-5)):
        student, teacher = random_maps(EQUAL).to(dtype), random_maps(shape, seed=1).to(dtype)
        found = loss(student, teacher)
        exact = paper(student.double().numpy(), teacher.double().numpy())
        if not name.startswith("fsp") or dtype == torch.float32:
            assert found.item() == pytest.approx(exact, rel=tolerance)
        assert found.dtype == torch.float32
        ours = computed(loss, student, teacher)
        assert np.isfinite(ours.gradient).all()


# The Gaussian's bandwidth moves with the student, but is a constant for the gradient.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "nst-gaussian"])
def test_gradcheck(name: str) -> None:
    loss, _, shapes = LOSSES[name]
    teacher = random_maps((1, *shapes[-1][1:]), seed=1)
    leaf = random_maps((1, *EQUAL[1:])).requires_grad_()
    assert torch.autograd.gradcheck(lambda student: loss(student, teacher), leaf)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (partial(hint_loss, norm="paper"), 64.0),
        (partial(hint_loss, norm="mean"), 16.0),
        (attention_loss, 0.1031606471),
        (partial(nst_loss, kernel="linear"), 0.3599709545),
        (partial(nst_loss, kernel="polynomial"), 0.6061302682),
    ],
)
def test_golden_value(loss: LossFunction, value: float) -> None:
    assert loss(STUDENT, TEACHER).item() == pytest.approx(value, abs=1e-9)


def test_golden_values_of_the_references() -> None:
    student, teacher = STUDENT.numpy(), TEACHER.numpy()
    assert reference.hint(student, teacher, "paper") == 64
    assert reference.hint(student, teacher, "mean") == 16
    assert reference.attention(student, teacher) == pytest.approx(0.1031606471, abs=1e-9)
    assert reference.nst(student, teacher, "linear") == pytest.approx(0.3599709545, abs=1e-9)
    assert reference.nst(student, teacher, "polynomial") == pytest.approx(0.6061302682, abs=1e-9)
    np.testing.assert_allclose(reference.flow(student[0], teacher[0]), [[1.25, 3.75], [3.25, 9.75]])


def test_golden_attention_map_and_fsp_matrix() -> None:
    expected = torch.tensor([[0.2370, 0.3645, 0.5286, 0.7291]], dtype=torch.float64)
    assert torch.allclose(attention_map(STUDENT), expected, atol=5e-5)
    matrix = fsp_matrix(STUDENT, TEACHER)
    assert matrix.tolist() == [[[1.25, 3.75], [3.25, 9.75]]]
    assert torch.allclose(matrix, torch.einsum("bihw,bjhw->bij", STUDENT, TEACHER) / 4)


SEEDS = st.integers(0, 2**20)


@given(SEEDS, st.sampled_from(sorted(LOSSES)), st.sampled_from([1, 3]))
def test_zero_at_equality_and_never_negative(seed: int, name: str, num: int) -> None:
    loss, _, shapes = LOSSES[name]
    student = random_maps((num, *EQUAL[1:]), seed=seed)
    teacher = random_maps((num, *shapes[-1][1:]), seed=seed + 1)
    same = computed(loss, student, student)
    assert same.value == pytest.approx(0, abs=1e-12)
    assert np.isfinite(same.gradient).all()
    assert np.abs(same.gradient).max() < 1e-6
    # The similarity of one image with itself says nothing.
    if not (num == 1 and "similarity" in name and "unit" in name):
        assert loss(student, teacher).item() > 1e-6


BLIND_TO_SCALE = [name for name in LOSSES if name.startswith(("at", "nst")) or name.endswith("unit")]


@given(SEEDS, st.sampled_from(BLIND_TO_SCALE), st.sampled_from([0.01, 3.0, 80.0]))
def test_directions_are_blind_to_a_positive_factor(seed: int, name: str, factor: float) -> None:
    loss, _, shapes = LOSSES[name]
    student, teacher = random_maps(EQUAL, seed=seed), random_maps(shapes[-1], seed=seed + 1)
    expected = loss(student, teacher).item()
    assert loss(factor * student, teacher).item() == pytest.approx(expected, rel=1e-9)
    assert loss(student, factor * teacher).item() == pytest.approx(expected, rel=1e-9)


RELATES_IMAGES = [name for name in LOSSES if "similarity" in name]


@given(SEEDS, st.sampled_from([name for name in LOSSES if name not in RELATES_IMAGES]))
def test_batch_term_is_the_mean_of_the_images_terms(seed: int, name: str) -> None:
    loss, _, shapes = LOSSES[name]
    student, teacher = random_maps(EQUAL, seed=seed), random_maps(shapes[-1], seed=seed + 1)
    single = [loss(ours[None], theirs[None]) for ours, theirs in zip(student, teacher, strict=True)]
    assert loss(student, teacher).item() == pytest.approx(torch.stack(single).mean().item(), rel=1e-10)


@given(SEEDS, st.sampled_from(["linear", "polynomial", "gaussian"]))
def test_nst_is_blind_to_the_order_of_channels_and_positions(seed: int, kernel: str) -> None:
    student, teacher = random_maps(EQUAL, seed=seed), random_maps(OTHER_WIDTH, seed=seed + 1)
    expected = nst_loss(student, teacher, kernel=kernel).item()
    generator = torch.Generator().manual_seed(seed)
    channels, rows = torch.randperm(5, generator=generator), torch.tensor([1, 3, 0, 2])
    assert nst_loss(student, teacher[:, channels], kernel=kernel).item() == pytest.approx(expected, rel=1e-9)
    assert nst_loss(student[:, :, rows], teacher[:, :, rows], kernel=kernel).item() == pytest.approx(expected, rel=1e-9)
    assert nst_loss(student[:, :, rows], teacher, kernel=kernel).item() != pytest.approx(expected, rel=1e-4)


def test_nst_is_the_distance_of_means_and_of_grams() -> None:
    student, teacher = random_maps(EQUAL), random_maps(OTHER_WIDTH, seed=1)
    ours, theirs = (nn.functional.normalize(maps.flatten(2), dim=2) for maps in (student, teacher))
    means = (ours.mean(1) - theirs.mean(1)).square().sum(1).mean()
    grams = (ours.mT @ ours / 3 - theirs.mT @ theirs / 5).square().sum((1, 2)).mean()
    assert nst_loss(student, teacher, kernel="linear").item() == pytest.approx(means.item(), rel=1e-12)
    assert nst_loss(student, teacher, kernel="polynomial").item() == pytest.approx(grams.item(), rel=1e-12)


def test_nst_gradient_is_that_without_the_teachers_term() -> None:
    student, teacher = random_maps(EQUAL), random_maps(OTHER_WIDTH, seed=1)

    def dropped(student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = (nn.functional.normalize(maps.flatten(2), dim=2) for maps in (student, teacher))
        return (ours @ ours.mT).square().mean() - 2 * (ours @ theirs.mT).square().mean()

    whole, part = computed(nst_loss, student, teacher), computed(dropped, student, teacher)
    np.testing.assert_allclose(whole.gradient, part.gradient, atol=1e-12)
    assert dropped(student, student).item() < 0 < whole.value


def test_mean_attention_loss_is_a_sum_of_squares_over_batch_and_positions() -> None:
    student, teacher = random_maps(EQUAL), random_maps(OTHER_WIDTH, seed=1)
    squares = (attention_map(student) - attention_map(teacher)).square().sum()
    assert attention_loss(student, teacher).item() == pytest.approx(squares.item() / (16 * 3), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_maps_have_finite_values_and_gradients(name: str) -> None:
    loss = LOSSES[name][0]
    zeros, ones = torch.zeros(EQUAL), torch.ones(EQUAL)
    huge = 80 * random_maps(EQUAL).sign().float()
    dead = torch.cat([zeros[:, :1], huge[:, 1:]], 1)
    for student in (zeros, ones, huge, dead, -huge):
        for teacher in (zeros, ones, huge, dead):
            found = computed(loss, student, teacher)
            assert np.isfinite(found.value)
            assert np.isfinite(found.gradient).all()
            # A vector without a length must not turn rounding into a huge step.
            assert name not in BLIND_TO_SCALE or np.abs(found.gradient).max() < 1e3


@pytest.mark.parametrize("name", LOSSES)
def test_teacher_gets_no_gradient(name: str) -> None:
    loss, _, shapes = LOSSES[name]
    student, teacher = nn.Parameter(random_maps(EQUAL)), nn.Parameter(random_maps(shapes[-1], seed=1))
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("student", "teacher"), [((3, 3, 4, 4), (1, 3, 4, 4)), ((0, 3, 4, 4), (0, 3, 4, 4)), ((3, 3), (3, 1))]
)
def test_shapes_that_would_broadcast_are_refused(name: str, student: Shape, teacher: Shape) -> None:
    loss = fsp_pair if name.startswith("fsp") else LOSSES[name][0]
    with pytest.raises(ValueError, match=r"(maps|features|matrices) .*\d"):
        loss(torch.zeros(student), torch.zeros(teacher))


def fsp_pair(student: Tensor, teacher: Tensor) -> Tensor:
    return fsp_loss((student, student), (teacher, teacher))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (fsp_pair, r"FSP matrices .* got \(3, 3, 3\) and \(3, 5, 5\)"),
        (partial(mimic_loss, what="gram"), "cannot be compared by 'gram'"),
        (partial(mimic_loss, what="feature"), "cannot be compared by 'feature'"),
        (hint_loss, "must have one shape"),
    ],
)
def test_channels_that_do_not_fit_are_refused(loss: LossFunction, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(random_maps(EQUAL), random_maps(OTHER_WIDTH))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (partial(hint_loss, norm="sum"), "norm must be mean or paper, got 'sum'"),
        (partial(attention_loss, norm="l2"), "norm must be mean or paper, got 'l2'"),
        (partial(attention_loss, mapping="mean"), "mapping must be sum, sum_p or max_p, got 'mean'"),
        (partial(attention_loss, p=0.5), "p must be 1 or more, got 0.5"),
        (partial(nst_loss, kernel="rbf"), "kernel must be linear, polynomial or gaussian, got 'rbf'"),
        (partial(flow_loss, pooling="sum"), "pooling must be mean or max, got 'sum'"),
        (partial(mimic_loss, what="map"), "what must be attention, feature, gram or similarity, got 'map'"),
        (partial(mimic_loss, distance="l3"), "distance must be l1 or l2, got 'l3'"),
        (partial(mimic_loss, scale="std"), "scale must be unit or raw, got 'std'"),
    ],
)
def test_unknown_settings_are_refused(loss: LossFunction, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(random_maps(EQUAL), random_maps(EQUAL, seed=1))


@pytest.mark.parametrize("mapping", ["sum", "sum_p", "max_p"])
@pytest.mark.parametrize("p", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("scale", [1e-11, 1e-6, 1e6, 1e30])
def test_attention_does_not_depend_on_the_scale_of_an_image(mapping: str, p: float, scale: float) -> None:
    student, teacher = random_maps((2, 3, 4, 4)).float(), random_maps((2, 5, 4, 4), seed=1).float()
    loss = partial(attention_loss, mapping=mapping, p=p)
    # Of one image only: the other must not come into it.
    scales = torch.tensor([1.0, scale]).view(2, 1, 1, 1)
    expected, found = computed(loss, student, teacher), computed(loss, student * scales, teacher * scales)
    assert found.value == pytest.approx(expected.value, rel=1e-4)
    np.testing.assert_allclose(found.gradient * scales.numpy(), expected.gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
def test_attention_on_nothing_is_nothing_with_a_gradient_of_nothing(p: float) -> None:
    student = random_maps((3, 3, 4, 4)).float()
    student[0] = 0
    student[1] = 1e-20
    found = computed(partial(attention_loss, p=p), student, student.roll(1, 0))
    assert np.isfinite(found.gradient).all()
    assert (found.gradient[:2] == 0).all()
    assert (found.gradient[2] != 0).any()
