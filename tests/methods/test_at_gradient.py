from copy import deepcopy

import numpy as np
import pytest
import torch
from feature_toys import two_stages
from reference import input_gradient as reference
from reference.feature import slope
from reference.input_gradient import Weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from toys import batch_of, random_batch, same_state, small_network, state

from understudy.classifier import Classifier, InputSpec
from understudy.distiller import Distiller
from understudy.losses.input_gradient import flip_symmetry_loss, gradient_attention_loss
from understudy.methods.at_gradient import GradientAttention, GradientSymmetry
from understudy.methods.base import Method
from understudy.reach import gradient_norms
from understudy.taps import IMAGE, IMAGE_GRADIENT, MIRRORED_LOGITS, Tapped
from understudy.teachers import Teacher
from understudy.types import Batch


class Smooth(nn.Module):
    """softmax(B tanh(A x)), the network of the reference."""

    def __init__(self, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = nn.Parameter(torch.randn(4, 6, generator=generator, dtype=torch.float64))
        self.output = nn.Parameter(torch.randn(3, 4, generator=generator, dtype=torch.float64))

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(image.flatten(1) @ self.hidden.T) @ self.output.T

    def weights(self) -> Weights:
        return Weights(self.hidden.detach().numpy(), self.output.detach().numpy())


IMAGES = torch.rand(3, 1, 2, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
LABELS = [2, 0, 1]
BATCH = batch_of(IMAGES, torch.tensor(LABELS))
METHODS: list[type[Method]] = [GradientAttention, GradientSymmetry]


def value_of(method: type[Method], student: nn.Module, teacher: nn.Module, batch: Batch) -> Tensor:
    """The raw term, with its graph."""
    made = method(weight=1.0)
    distiller = Distiller(student, [made], label_weight=0)
    return distiller(batch, Teacher(teacher, taps=made.taps().teacher)(batch)).loss


@pytest.mark.parametrize("method", METHODS)
def test_value_and_gradient_are_those_of_the_paper(method: type[Method]) -> None:
    student, teacher = Smooth(seed=0), Smooth(seed=1)
    loss = value_of(method, student, teacher, BATCH)
    loss.backward()

    def paper(weights: Weights) -> float:
        images = IMAGES[:, 0].numpy()
        if method is GradientSymmetry:
            return reference.flip_symmetry(weights, images, LABELS)
        return reference.gradient_attention(weights, teacher.weights(), images, LABELS)

    at = student.weights()
    assert loss.item() == pytest.approx(paper(at), rel=1e-12)
    assert student.hidden.grad is not None
    assert student.output.grad is not None
    expected = slope(lambda moved: paper(Weights(moved, at.output)), at.hidden)
    np.testing.assert_allclose(student.hidden.grad.numpy(), expected, atol=1e-9)
    expected = slope(lambda moved: paper(Weights(at.hidden, moved)), at.output)
    np.testing.assert_allclose(student.output.grad.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_double_backward_through_a_network_by_finite_differences(method: type[Method], training: bool) -> None:
    student, teacher = two_stages().double(), two_stages(seed=1).double()
    student.train(training)
    batch = random_batch(4)
    batch = batch._replace(image=batch.image.double())
    value_of(method, student, teacher, batch).backward()
    generator = torch.Generator().manual_seed(0)
    for parameter in student.parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        start, found = parameter.detach().clone(), []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.copy_(start + step * direction)
            found.append(value_of(method, student, teacher, batch).item())
            parameter.data.copy_(start)
        expected = (found[0] - found[1]) / 2e-6
        gradient = torch.zeros_like(start) if parameter.grad is None else parameter.grad
        assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-3, abs=1e-8)


def test_loss_does_not_depend_on_the_size_of_the_batch() -> None:
    student, teacher = Smooth(seed=0), Smooth(seed=1)
    single = [
        value_of(GradientAttention, student, teacher, batch_of(image[None], torch.tensor([label])))
        for image, label in zip(IMAGES, LABELS, strict=True)
    ]
    whole = value_of(GradientAttention, student, teacher, BATCH)
    assert whole.item() == pytest.approx(torch.stack(single).mean().item(), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_unlabelled_images_behind_the_labelled_ones_take_no_part(method: type[Method]) -> None:
    student, teacher = Smooth(seed=0), Smooth(seed=1)
    part = batch_of(IMAGES[:2], torch.tensor(LABELS[:2]))
    expected = value_of(method, student, teacher, part)
    found = value_of(method, student, teacher, BATCH._replace(label=part.label))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_equal_networks_have_no_loss_and_no_gradient() -> None:
    student = Smooth(seed=0)
    loss = value_of(GradientAttention, student, deepcopy(student), BATCH)
    loss.backward()
    assert loss.item() == 0
    assert student.hidden.grad is not None
    assert not student.hidden.grad.any()


def test_symmetric_images_have_symmetric_gradients_in_a_symmetric_network() -> None:
    student = Smooth(seed=0)
    assert value_of(GradientSymmetry, student, student, BATCH).item() > 1e-3
    with torch.no_grad():
        columns = student.hidden.view(4, 2, 3)
        student.hidden.copy_(((columns + columns.flip(2)) / 2).reshape(4, 6))
    assert value_of(GradientSymmetry, student.requires_grad_(True), Smooth(seed=1), BATCH).item() < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_saturated_answers_are_finite(method: type[Method]) -> None:
    for scale in (0.0, 1e3):
        student, teacher = Smooth(seed=0), Smooth(seed=1)
        for network in (student, teacher):
            network.output.data.mul_(scale)
        loss = value_of(method, student, teacher, BATCH)
        loss.backward()
        assert loss.isfinite()
        assert all(parameter.grad.isfinite().all() for parameter in student.parameters() if parameter.grad is not None)


def test_teacher_gives_the_gradient_at_each_image_and_does_not_change() -> None:
    model = small_network(seed=1)
    teacher, batch = Teacher(model, taps=[IMAGE_GRADIENT, "relu"]), random_batch()
    before = state(model)
    targets = teacher(batch)
    image = batch.image.clone().requires_grad_()
    assert batch.label is not None
    cross_entropy(model(image), batch.label, reduction="sum").backward()
    assert image.grad is not None
    assert torch.allclose(targets.features[IMAGE_GRADIENT], image.grad, atol=1e-7)
    for target in (targets.logits, *targets.features.values()):
        assert not target.requires_grad
    assert torch.equal(targets.logits, Teacher(model)(batch).logits)
    assert same_state(model, before)
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="needs the label of each image"):
        teacher(batch._replace(label=None))


@pytest.mark.parametrize("method", METHODS)
def test_distiller_takes_it_like_any_other_method(method: type[Method]) -> None:
    made = method()
    distiller, teacher = Distiller(small_network(), [made]), Teacher(small_network(seed=1), taps=made.taps().teacher)
    batch, before = random_batch(), state(distiller)
    distiller.setup(batch, teacher)
    gradient_norms(distiller, batch, teacher(batch))
    assert same_state(distiller, before)
    assert made.weight(made.terms[0]) == 1
    with torch.autocast("cpu", torch.bfloat16):
        loss, terms, _ = distiller(batch, teacher(batch))
    loss.backward()
    assert terms[made.terms[0]].raw.isfinite()
    assert terms[made.terms[0]].raw.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in distiller.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert not batch.image.requires_grad
    assert torch.equal(distiller.deploy().eval()(batch.image), distiller.eval().student(batch.image).logits)


def test_mirrored_pass_leaves_running_statistics_alone() -> None:
    batch = random_batch()
    plain, tapped = two_stages(), Tapped(two_stages(), [IMAGE, MIRRORED_LOGITS, "upper"])
    expected = plain(batch.image)
    outputs = tapped(batch.image)
    assert torch.equal(outputs.logits, expected)
    assert same_state(tapped.model, state(plain))
    assert list(outputs.features) == [IMAGE, "upper", MIRRORED_LOGITS]
    assert torch.equal(outputs.features["upper"], Tapped(two_stages(), ["upper"])(batch.image).features["upper"])
    mirrored = two_stages()(batch.image.flip(3))
    assert torch.equal(outputs.features[MIRRORED_LOGITS], mirrored)


def test_gradient_is_that_of_pixels_in_the_unit_range() -> None:
    spec = InputSpec((8, 8), 1, (0.5,), (0.25,))
    model = Classifier(two_stages(), spec=spec, classes=("a", "b", "c"))
    pixels = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    label = torch.arange(6) % 3
    teacher = Teacher(model, taps=[IMAGE_GRADIENT])
    found = teacher(batch_of(pixels, label)).features[IMAGE_GRADIENT]
    same = teacher(batch_of(pixels.float() / 255, label)).features[IMAGE_GRADIENT]
    assert found.any()
    assert torch.allclose(found, same, atol=1e-6)


@pytest.mark.parametrize("loss", [gradient_attention_loss, flip_symmetry_loss])
def test_shapes_that_would_broadcast_are_refused(loss: object) -> None:
    assert callable(loss)
    for student, teacher in [((2, 3, 4, 4), (2, 1, 4, 4)), ((2, 3), (2, 3)), ((0, 3, 4, 4), (0, 3, 4, 4))]:
        with pytest.raises(ValueError, match=r"input gradients must have one shape .*\d"):
            loss(torch.zeros(student), torch.zeros(teacher))
