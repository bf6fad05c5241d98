from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from reference import virtual as reference
from reference.logit import Loss
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from understudy.losses.label_smoothing import smoothed_cross_entropy
from understudy.losses.logit import kd_loss
from understudy.losses.virtual import (
    calibrated_virtual_loss,
    published_virtual_loss,
    softened_virtual_loss,
    virtual_teacher,
)

GOLDEN = torch.tensor([[1, 2, 3], [0, 0, 0]], dtype=torch.float64)
LABELS = torch.tensor([2, 0])

VirtualLoss = Callable[..., Tensor]
VARIANTS: dict[str, tuple[VirtualLoss, Callable[..., Loss], dict[str, Any]]] = {
    "published": (published_virtual_loss, reference.published, {"temperature": 20.0}),
    "published-3": (published_virtual_loss, reference.published, {"temperature": 3.0}),
    "both": (softened_virtual_loss, reference.both, {"temperature": 20.0}),
    "both-3": (softened_virtual_loss, reference.both, {"temperature": 3.0}),
    "calibrated": (calibrated_virtual_loss, reference.calibrated, {}),
}


def random_logits(num: int = 7, num_classes: int = 5, *, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)


def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    leaf = logits.clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("confidence", [0.9, 0.99])
@pytest.mark.parametrize("name", VARIANTS)
def test_value_and_gradient_are_those_of_the_reference(name: str, confidence: float) -> None:
    function, expected, settings = VARIANTS[name]
    logits, labels = random_logits(), torch.arange(7) % 5
    loss = partial(function, labels=labels, confidence=confidence, **settings)
    found = expected(logits.numpy(), labels.tolist(), confidence, **settings)
    assert loss(logits).item() == pytest.approx(found.value, rel=1e-12, abs=1e-12)
    assert torch.allclose(gradient(loss, logits), torch.from_numpy(found.gradient), rtol=1e-10, atol=1e-14)


def test_golden_values() -> None:
    assert calibrated_virtual_loss(GOLDEN, LABELS, 0.9).item() == pytest.approx(0.4337114351088, abs=1e-12)
    assert softened_virtual_loss(GOLDEN, LABELS, 0.9, 20.0).item() == pytest.approx(0.1049999306962, abs=1e-12)


def test_the_virtual_teacher() -> None:
    found = virtual_teacher(torch.zeros(2, 3), torch.tensor([1, 0]), 0.9)
    assert torch.allclose(found, torch.tensor([[0.05, 0.9, 0.05], [0.9, 0.05, 0.05]]))


@pytest.mark.parametrize(
    ("num_classes", "temperature", "share"),
    [(10, 1.0, 0.2128), (10, 10.0, 0.1083), (10, 20.0, 0.1041), (1000, 1.0, 0.00246), (1000, 20.0, 0.00105)],
)
def test_a_softmax_of_probabilities_leaves_next_to_nothing(num_classes: int, temperature: float, share: float) -> None:
    teacher = virtual_teacher(torch.zeros(1, num_classes, dtype=torch.float64), torch.tensor([0]), 0.9)
    assert (teacher / temperature).softmax(1)[0, 0].item() == pytest.approx(
        share, abs=6e-5 if num_classes == 10 else 5e-6
    )


@pytest.mark.parametrize("confidence", [0.9, 0.99])
@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0])
def test_the_calibrated_one_is_label_smoothing(weight: float, confidence: float) -> None:
    num_classes, labels, logits = 5, torch.arange(7) % 5, random_logits()
    smoothing = weight * (1 - confidence) * num_classes / (num_classes - 1)

    def virtual(z: Tensor) -> Tensor:
        return (1 - weight) * cross_entropy(z, labels) + weight * calibrated_virtual_loss(z, labels, confidence)

    def smoothed(z: Tensor) -> Tensor:
        return smoothed_cross_entropy(z, labels, smoothing)

    assert torch.allclose(gradient(virtual, logits), gradient(smoothed, logits), rtol=0, atol=1e-12)
    teacher = virtual_teacher(logits, labels, confidence)
    constant = -weight * (teacher * teacher.log()).sum(1).mean()
    assert (smoothed(logits) - virtual(logits)).item() == pytest.approx(constant.item(), abs=1e-12)


def test_softened_is_distillation_from_a_teacher_whose_logits_are_probabilities() -> None:
    labels, logits = torch.arange(7) % 5, random_logits()
    teacher = virtual_teacher(logits, labels, 0.9)
    assert torch.allclose(softened_virtual_loss(logits, labels, 0.9, 3.0), kd_loss(logits, teacher, 3.0), atol=1e-14)


def test_without_temperature_both_variants_are_one() -> None:
    labels, logits = torch.arange(7) % 5, random_logits()
    one, other = (loss(logits, labels, 0.9, 1.0) for loss in (published_virtual_loss, softened_virtual_loss))
    assert torch.allclose(one, other, atol=1e-14)


def test_the_authors_average_over_classes_is_a_smaller_weight() -> None:
    labels, logits = torch.arange(7) % 5, random_logits()
    teacher = (virtual_teacher(logits, labels, 0.99) / 20).softmax(1)
    theirs = 0.1 * 100 * kl_div(logits.log_softmax(1), teacher, reduction="none").mean()
    assert torch.allclose(theirs, 0.1 * 100 / 5 * published_virtual_loss(logits, labels), atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "confidence"),
    [
        (calibrated_virtual_loss, 0.9500),
        (partial(published_virtual_loss, temperature=1.0), 0.6064),
        (partial(softened_virtual_loss, temperature=1.0), 0.6064),
        (partial(softened_virtual_loss, temperature=10.0), 0.7468),
    ],
    ids=["calibrated", "published-1", "both-1", "both-10"],
)
def test_how_confident_free_logits_become(loss: VirtualLoss, confidence: float) -> None:
    """Logits without a network, ten classes, confidence .9, half label loss and half virtual teacher."""
    label = torch.tensor([3])
    logits = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = 0.5 * cross_entropy(logits, label) + 0.5 * loss(logits, label, 0.9)
        total.backward()
        return total

    optimizer.step(closure)
    assert logits.softmax(1)[0, 3].item() == pytest.approx(confidence, abs=5e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_half_precision_is_computed_in_float32(name: str) -> None:
    function, _, settings = VARIANTS[name]
    logits, labels = random_logits().bfloat16(), torch.arange(7) % 5
    found = function(logits, labels, **settings)
    assert found.dtype == torch.float32
    assert torch.allclose(found, function(logits.float(), labels, **settings))


@pytest.mark.parametrize("confidence", [0.0, -0.1, 1.1, float("nan")])
def test_a_confidence_that_is_no_probability_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=f"confidence must be above 0 and at most 1, got {confidence}"):
        calibrated_virtual_loss(GOLDEN, LABELS, confidence)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        published_virtual_loss(GOLDEN, LABELS, temperature=0.0)
    with pytest.raises(ValueError, match="temperature must be above 0, got -1"):
        softened_virtual_loss(GOLDEN, LABELS, temperature=-1.0)
    with pytest.raises(ValueError, match="two classes or more"):
        virtual_teacher(torch.zeros(2, 1), LABELS)
    with pytest.raises(ValueError, match="logits must be of shape"):
        virtual_teacher(torch.zeros(0, 3), LABELS[:0])
