from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import logit as reference
from reference.logit import Loss
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax
from toys import FixedLogits, batch_of

from understudy.distiller import Distiller
from understudy.losses import kd_loss, logit_mse_loss, soft_cross_entropy
from understudy.methods.base import Method
from understudy.methods.kd import KD
from understudy.methods.logit_mse import LogitMSE
from understudy.methods.soft_ce import SoftCE
from understudy.types import Outputs

LossFunction = Callable[[Tensor, Tensor], Tensor]
Reference = Callable[[reference.Array, reference.Array], Loss]

STUDENT = torch.tensor([[1, 2, 3], [0, 0, 0]], dtype=torch.float64)
TEACHER = torch.tensor([[3, 2, 1], [2, 0, -2]], dtype=torch.float64)
LABEL = torch.tensor([2, 0])

LOSSES: dict[str, tuple[LossFunction, Reference]] = {
    "kd-1": (partial(kd_loss, temperature=1.0), partial(reference.kd, temperature=1.0)),
    "kd-4": (kd_loss, partial(reference.kd, temperature=4.0)),
    "logit-mse": (logit_mse_loss, reference.logit_mse),
    "soft-ce-1": (soft_cross_entropy, partial(reference.soft_cross_entropy, temperature=1.0)),
    "soft-ce-4": (partial(soft_cross_entropy, temperature=4.0), partial(reference.soft_cross_entropy, temperature=4.0)),
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def random_logits(num: int, num_classes: int, *, scale: float = 2.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)


def signs(num: int, num_classes: int, *, seed: int) -> Tensor:
    return 80 * random_logits(num, num_classes, seed=seed).sign()


INPUTS: dict[str, tuple[Tensor, Tensor]] = {
    "random": (random_logits(8, 5), random_logits(8, 5, seed=1)),
    "equal": (random_logits(4, 5), random_logits(4, 5)),
    "huge": (signs(6, 4, seed=0), signs(6, 4, seed=1)),
    "one": (random_logits(1, 5), random_logits(1, 5, seed=1)),
    "two-classes": (random_logits(6, 2), random_logits(6, 2, seed=1)),
    "thousand-classes": (random_logits(3, 1000), random_logits(3, 1000, seed=1)),
}


def computed(loss: LossFunction, student: Tensor, teacher: Tensor) -> Loss:
    logits = student.clone().requires_grad_()
    value = loss(logits, teacher)
    value.backward()
    assert logits.grad is not None
    return Loss(value.item(), logits.grad.double().numpy())


def agree(ours: Loss, theirs: Loss, tolerance: float) -> bool:
    close = partial(np.allclose, rtol=tolerance, atol=tolerance)
    return close(ours.value, theirs.value) and close(ours.gradient, theirs.gradient)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_paper(name: str, kind: str, dtype: torch.dtype) -> None:
    loss, paper = LOSSES[name]
    student, teacher = (logits.to(dtype) for logits in INPUTS[kind])
    ours = computed(loss, student, teacher)
    theirs = paper(student.double().numpy(), teacher.double().numpy())
    assert np.isfinite(ours.gradient).all()
    assert agree(ours, theirs, TOLERANCE[dtype])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", INPUTS)
def test_label_loss_is_smoothed_cross_entropy(kind: str, smoothing: float) -> None:
    logits, _ = INPUTS[kind]
    labels = [i % logits.shape[1] for i in range(len(logits))]
    distiller = Distiller(FixedLogits(logits), label_smoothing=smoothing)

    def label_loss(_: Tensor, __: Tensor) -> Tensor:
        return distiller(batch_of(torch.zeros(len(logits), 1), torch.tensor(labels))).loss

    value = label_loss(logits, logits)
    value.backward()
    student = distiller.student.model
    assert isinstance(student, FixedLogits)
    assert student.logits.grad is not None
    ours = Loss(value.item(), student.logits.grad.numpy())
    assert agree(ours, reference.cross_entropy(logits.numpy(), labels, smoothing), 1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_reference_gradient_is_the_slope_of_its_value(name: str) -> None:
    _, paper = LOSSES[name]
    student, teacher = STUDENT.numpy(), TEACHER.numpy()
    step = 1e-6
    for position in np.ndindex(*student.shape):
        moved = [student.copy(), student.copy()]
        moved[0][position] += step
        moved[1][position] -= step
        slope = (paper(moved[0], teacher).value - paper(moved[1], teacher).value) / (2 * step)
        assert paper(student, teacher).gradient[position] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    loss, _ = LOSSES[name]
    assert torch.autograd.gradcheck(lambda student: loss(student, TEACHER), STUDENT.clone().requires_grad_())


WRONG: dict[str, LossFunction] = {
    "mean over classes too": lambda s, t: 16 * kl_div(log_softmax(s / 4, 1), softmax(t / 4, 1), reduction="mean"),
    "no squared temperature": lambda s, t: kl_div(log_softmax(s / 4, 1), softmax(t / 4, 1), reduction="batchmean"),
    "student and teacher swapped": lambda s, t: (
        16 * kl_div(log_softmax(t / 4, 1), softmax(s / 4, 1), reduction="batchmean")
    ),
    "probabilities divided": lambda s, t: (
        4 * kl_div(log_softmax(s, 1) - np.log(4), softmax(t, 1) / 4, reduction="batchmean")
    ),
}


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize("mistake", WRONG)
def test_the_usual_mistakes_disagree_with_the_paper(mistake: str) -> None:
    theirs = reference.kd(STUDENT.numpy(), TEACHER.numpy(), 4.0)
    assert agree(computed(kd_loss, STUDENT, TEACHER), theirs, 2e-2)
    assert not agree(computed(WRONG[mistake], STUDENT, TEACHER), theirs, 2e-2)


GOLDEN: dict[str, tuple[LossFunction, float]] = {
    "logit-mse": (logit_mse_loss, 2.6666666666667),
    "kd-1": (partial(kd_loss, temperature=1.0), 0.9039878049094),
    "kd-4": (partial(kd_loss, temperature=4.0), 1.2871825716072),
    "kd-20": (partial(kd_loss, temperature=20.0), 1.3313930421442),
    "soft-ce-1": (partial(soft_cross_entropy, temperature=1.0), 1.5407143178585),
    "soft-ce-4": (partial(soft_cross_entropy, temperature=4.0), 1.1295944039143),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_value(name: str) -> None:
    loss, value = GOLDEN[name]
    assert loss(STUDENT, TEACHER).item() == pytest.approx(value, abs=1e-9)


def test_golden_values_of_the_references() -> None:
    student, teacher = STUDENT.numpy(), TEACHER.numpy()
    assert reference.cross_entropy(student, [2, 0]).value == pytest.approx(0.7531091265562, abs=1e-9)
    assert reference.logit_mse(student, teacher).value == pytest.approx(2.6666666666667, abs=1e-9)
    assert reference.kd(student, teacher, 4.0).value == pytest.approx(1.2871825716072, abs=1e-9)
    assert reference.soft_cross_entropy(student, teacher, 4.0).value == pytest.approx(1.1295944039143, abs=1e-9)


# Weights are float32 buffers: a mixture of halves is exact, one of tenths is good to seven digits.
@pytest.mark.parametrize(
    ("methods", "label_weight", "value", "tolerance"),
    [
        ([], 1.0, 0.7531091265562, 1e-9),
        ([LogitMSE(weight=0.5)], 0.5, 1.7098878966115, 1e-9),
        ([LogitMSE(weight=1.0)], 0.0, 2.6666666666667, 1e-9),
        ([KD(temperature=20.0, weight=0.5)], 0.5, 1.0422510843502, 1e-9),
        ([KD(temperature=4.0, weight=1.0)], 0.0, 1.2871825716072, 1e-9),
        ([KD(temperature=4.0, weight=0.9)], 0.1, 1.2337752271021, 1e-7),
        ([SoftCE(temperature=1.0, weight=0.1)], 0.9, 0.8318696456865, 1e-7),
        ([SoftCE(temperature=1.0, weight=0.9)], 0.1, 1.4619537987282, 1e-7),
    ],
)
def test_golden_mixtures(methods: list[Method], label_weight: float, value: float, tolerance: float) -> None:
    distiller = Distiller(FixedLogits(STUDENT), methods, label_weight=label_weight)
    step = distiller(batch_of(torch.zeros(2, 1), LABEL), Outputs(TEACHER, {}))
    assert step.loss.item() == pytest.approx(value, abs=tolerance)


Pair = tuple[Tensor, Tensor]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    num, num_classes = draw(st.integers(1, 5)), draw(st.integers(2, 12))
    scale, seed = draw(st.sampled_from([0.1, 1.0, 10.0, 40.0])), draw(st.integers(0, 2**20))
    size = {"num": num, "num_classes": num_classes, "scale": scale}
    return random_logits(**size, seed=seed), random_logits(**size, seed=seed + 1)


TEMPERATURES = st.sampled_from([0.5, 1.0, 4.0, 20.0])


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def gradient(loss: LossFunction, student: Tensor, teacher: Tensor) -> Tensor:
    return torch.from_numpy(computed(loss, student, teacher).gradient)


@given(pairs(), TEMPERATURES)
def test_zero_at_equality_and_never_negative(pair: Pair, temperature: float) -> None:
    student, teacher = pair
    assert kd_loss(student, student, temperature).item() == 0
    assert logit_mse_loss(student, student).item() == 0
    # Two sure answers that agree differ by less than rounding, on either side of zero.
    assert kd_loss(student, teacher, temperature).item() > -1e-12
    assert logit_mse_loss(student, teacher).item() > 0


@given(pairs(), TEMPERATURES, st.floats(-50, 50).filter(lambda shift: abs(shift) > 1))
def test_only_softmax_is_blind_to_a_constant(pair: Pair, temperature: float, shift: float) -> None:
    student, teacher = pair
    kd = kd_loss(student, teacher, temperature)
    assert close(kd_loss(student + shift, teacher, temperature), kd, 1e-9)
    assert close(kd_loss(student, teacher + shift, temperature), kd, 1e-9)
    assert not close(logit_mse_loss(student + shift, student), logit_mse_loss(student, student), 1e-3)


@given(pairs(), st.sampled_from(sorted(LOSSES)))
def test_permuting_images_or_classes_permutes_the_gradient(pair: Pair, name: str) -> None:
    student, teacher = pair
    loss, _ = LOSSES[name]
    generator = torch.Generator().manual_seed(student.numel())
    rows, columns = (torch.randperm(size, generator=generator) for size in student.shape)
    permuted = student[rows][:, columns], teacher[rows][:, columns]
    assert close(loss(*permuted), loss(student, teacher))
    assert close(gradient(loss, *permuted), gradient(loss, student, teacher)[rows][:, columns])


@given(pairs(), TEMPERATURES)
def test_kd_gradient_sums_to_zero_over_classes(pair: Pair, temperature: float) -> None:
    found = gradient(partial(kd_loss, temperature=temperature), *pair)
    assert close(found.sum(1), torch.zeros(len(found), dtype=torch.float64))


@given(pairs(), TEMPERATURES)
def test_soft_cross_entropy_is_kl_plus_the_teachers_entropy(pair: Pair, temperature: float) -> None:
    student, teacher = pair
    soft_ce = partial(soft_cross_entropy, temperature=temperature)

    def kl(student: Tensor, teacher: Tensor) -> Tensor:
        return kd_loss(student, teacher, temperature) / temperature**2

    assert close(gradient(soft_ce, *pair), gradient(kl, *pair), 1e-12)
    difference = soft_ce(student, teacher) - kl(student, teacher)
    assert difference.item() == pytest.approx(reference.entropy(teacher.numpy(), temperature), rel=1e-9, abs=1e-9)


@given(pairs(), st.sampled_from(sorted(LOSSES)))
def test_batch_term_is_the_mean_of_the_images_terms(pair: Pair, name: str) -> None:
    loss, _ = LOSSES[name]
    single = [loss(student[None], teacher[None]) for student, teacher in zip(*pair, strict=True)]
    assert close(torch.stack(single).mean(), loss(*pair))


def test_kd_gradient_tends_to_the_difference_of_centred_logits() -> None:
    student, teacher = random_logits(16, 10, scale=1), random_logits(16, 10, scale=1, seed=1)
    difference = student - teacher
    limit = (difference - difference.mean(1, keepdim=True)) / difference.numel()

    def error(temperature: float) -> float:
        return (gradient(partial(kd_loss, temperature=temperature), student, teacher) - limit).abs().max().item()

    assert error(100) < 4e-4
    assert error(100) / error(1000) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("name", LOSSES)
def test_teacher_gets_no_gradient(name: str) -> None:
    loss, _ = LOSSES[name]
    student, teacher = nn.Parameter(STUDENT.clone()), nn.Parameter(TEACHER.clone())
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("student", "teacher"), [((2, 3), (2, 1)), ((2, 3), (1, 3)), ((2, 3, 1), (2, 3, 1)), ((3,), (3,)), ((0, 3), (0, 3))]
)
def test_shapes_that_would_broadcast_are_refused(name: str, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    loss, _ = LOSSES[name]
    with pytest.raises(ValueError, match=r"logits must.*shape.*\d"):
        loss(torch.zeros(student), torch.zeros(teacher))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
@pytest.mark.parametrize("loss", [kd_loss, soft_cross_entropy])
def test_temperature_must_be_above_zero(loss: Callable[..., Tensor], temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature must be above 0, got {temperature}"):
        loss(STUDENT, TEACHER, temperature)


@pytest.mark.parametrize("loss", [kd_loss, soft_cross_entropy])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperature_may_be_a_tensor(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    student, teacher = STUDENT.to(dtype), TEACHER.to(dtype)
    found = loss(student, teacher, torch.tensor(3.0))
    assert found.dtype == dtype
    assert found.shape == ()
    assert torch.equal(found, loss(student, teacher, 3.0))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    loss, _ = LOSSES[name]
    assert loss(STUDENT.to(dtype), TEACHER.to(dtype)).dtype == torch.float32
