from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from toys import FixedLogits, batch_of, random_batch, small_network

from understudy.distiller import Distiller
from understudy.losses.virtual import calibrated_virtual_loss, published_virtual_loss, softened_virtual_loss
from understudy.methods.base import METHODS
from understudy.methods.tf_kd import TfKD
from understudy.types import Outputs

LOGITS = torch.tensor([[1.0, 2, 3], [0, 0, 1], [4, -1, 0]])
LABELS = torch.tensor([2, 0, 1])


def test_defaults_are_those_of_the_authors_resnet18() -> None:
    made = METHODS.get("tf-kd")()
    assert isinstance(made, TfKD)
    assert (made.variant, made.label_weight) == ("published", 0.9)
    assert made.confidence == pytest.approx(0.99)
    assert made.temperature == 20
    assert made.weight("tf_kd").item() == pytest.approx(0.1)
    assert made.needs_labels
    assert not made.needs_teacher


TERMS: list[tuple[TfKD, Callable[[], Tensor]]] = [
    (TfKD(), lambda: published_virtual_loss(LOGITS, LABELS, 0.99, 20.0)),
    (TfKD(variant="published", temperature=2.0), lambda: published_virtual_loss(LOGITS, LABELS, 0.99, 2.0)),
    (TfKD(variant="both", confidence=0.9, temperature=2.0), lambda: softened_virtual_loss(LOGITS, LABELS, 0.9, 2.0)),
    (TfKD(variant="both"), lambda: softened_virtual_loss(LOGITS, LABELS, 0.99, 20.0)),
    (TfKD(variant="calibrated", confidence=0.9), lambda: calibrated_virtual_loss(LOGITS, LABELS, 0.9)),
]


@pytest.mark.parametrize(("method", "loss"), TERMS)
def test_the_term_is_that_of_the_variant(method: TfKD, loss: Callable[[], Tensor]) -> None:
    step = Distiller(FixedLogits(LOGITS), [method])(batch_of(torch.zeros(3, 1), LABELS))
    assert step.terms["tf_kd"].raw.item() == pytest.approx(loss().item(), rel=1e-5)


def test_the_calibrated_variant_trains_as_label_smoothing_does() -> None:
    """Half and half with .9 on the true class is label smoothing of .5 * .1 * C / (C - 1)."""
    batch = random_batch()
    num_classes = small_network()(batch.image).shape[1]
    smoothing = 0.05 * num_classes / (num_classes - 1)
    virtual = Distiller(small_network(), [TfKD(variant="calibrated", confidence=0.9, weight=0.5)], label_weight=0.5)
    smoothed = Distiller(small_network(), label_smoothing=smoothing)
    for distiller in (virtual, smoothed):
        distiller.eval()
        distiller(batch).loss.backward()
    pairs = zip(virtual.student.parameters(), smoothed.student.parameters(), strict=True)
    assert all(torch.allclose(one.grad, other.grad, atol=1e-6) for one, other in pairs if one.grad is not None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TfKD(variant="smooth"), "variant must be published, both or calibrated, got 'smooth'"),  # pyright: ignore
        (lambda: TfKD(variant="calibrated", temperature=2.0), "leave out temperature, got 2.0"),
        (lambda: TfKD(temperature=0.0), "temperature must be above 0, got 0"),
        (lambda: TfKD(confidence=1.5), "confidence must be above 0 and at most 1, got 1.5"),
        (lambda: TfKD(weight=-1.0), "the weight of 'tf_kd' must be .* got -1"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], TfKD], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_unlabelled_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="needs the label of each image"):
        TfKD()(Outputs(LOGITS, {}), Outputs(torch.empty(0), {}), batch_of(torch.zeros(3, 1)))
