"""Self-distillation: its terms, and which parts of the network they reach."""

from typing import Any

import numpy as np
import pytest
import torch
from reference.logit import Loss
from reference.self_distillation import distilled, hinted, labelled
from torch import Tensor, nn

from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.exits import add_exits
from understudy.losses.exits import exit_targets
from understudy.methods.base import METHODS, Facts
from understudy.methods.self_distillation import SelfDistillation
from understudy.taps import exit_feature
from understudy.testing import Case, small_network
from understudy.testing.case import as_classifier
from understudy.types import Batch, Outputs

EARLY = 2
LABELS = torch.tensor([2, 0, 1, 1])


def said(*, width: int = 3, seed: int = 0) -> Outputs:
    """Logits of two early exits and the main one, and what their classifiers read, float64 with gradients."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2 * (EARLY + 1), 4, width, generator=generator, dtype=torch.float64)
    logits, features = ([row.requires_grad_() for row in rows.unbind()] for rows in draw.split(EARLY + 1))
    named = {exit_feature(number): feature for number, feature in enumerate(features)}
    return Outputs(logits[-1], named, tuple(logits[:-1]))


def batch() -> Batch:
    index = torch.arange(4)
    return Batch(torch.zeros(4, 3, 2, 2), LABELS, index, torch.full_like(index, -1))


def made(widths: tuple[int, ...] = (3, 3, 3), **settings: Any) -> SelfDistillation:
    method = SelfDistillation(**settings)
    shapes = {exit_feature(number): (width,) for number, width in enumerate(widths)}
    method.setup(Facts(student=shapes, teacher={}, num_classes=3, labels=LABELS))
    return method.double()


def numbers(tensors: list[Tensor]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    return [tensor.detach().numpy() for tensor in tensors]


def check(term: Tensor, leaves: list[Tensor], expected: list[Loss]) -> None:
    assert term.item() == pytest.approx(sum(loss.value for loss in expected), rel=1e-10)
    gradients = torch.autograd.grad(term, leaves, allow_unused=True, materialize_grads=True)
    for gradient, loss in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient.numpy(), loss.gradient, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("teacher", ["deepest", "logits", "probabilities"])
def test_terms_and_gradients_are_those_of_the_paper(teacher: Any) -> None:
    outputs = said()
    logits, features = [*outputs.exits, outputs.logits], list(outputs.features.values())
    own = 0.0 if teacher == "deepest" else 2.0
    kd_exits = [0.5, 1.5] if teacher == "deepest" else [0.5, 1.5, own]
    method = made(temperature=3.0, teacher=teacher, ce_exits=[2.0, 1.0], kd_exits=kd_exits, hint_exits=[1.0, 3.0])
    terms = method(outputs, Outputs(torch.empty(0), {}), batch())
    check(terms["exits_ce"], logits, labelled(numbers(logits), LABELS.tolist(), [2.0, 1.0, 0.0]))
    check(terms["exits_kd"], logits, distilled(numbers(logits), teacher, 3.0, [0.5, 1.5, own]))
    expected = hinted(numbers(features), [1.0, 3.0])
    check(terms["exits_hint"], features[:-1], expected)
    assert torch.autograd.grad(terms["exits_hint"], features[-1], allow_unused=True) == (None,)


def test_averaged_probabilities_are_exact_at_the_temperature() -> None:
    outputs = said()
    logits = [*outputs.exits, outputs.logits]
    targets = exit_targets(logits, teacher="probabilities", temperature=3.0)
    mean = torch.stack([(each / 3).softmax(1) for each in logits]).mean(0)
    torch.testing.assert_close((targets / 3).softmax(1), mean)
    assert not targets.requires_grad


def test_the_hint_means_the_same_for_all_batches_and_widths() -> None:
    outputs = said()
    once = made()(outputs, outputs, batch())["exits_hint"]
    wide = {name: feature.repeat(1, 2) for name, feature in outputs.features.items()}
    twice = made((6, 6, 6))(outputs._replace(features=wide), outputs, batch())["exits_hint"]
    assert twice.item() == pytest.approx(once.item())


def test_a_linear_layer_joins_different_widths() -> None:
    method = made((5, 3, 3))
    assert [type(adapter) for adapter in method.adapters] == [nn.Linear, nn.Identity]


def test_no_term_reaches_what_lies_behind_the_last_exit() -> None:
    """The deepest exit gets no distillation gradient, and the stage that only it reads none at all."""
    case = Case(SelfDistillation)
    distiller = case.build()
    terms = distiller(case.batch).terms
    torch.stack([term.raw for name, term in terms.items() if name != "ce"]).sum().backward()
    reached = {name for name, p in distiller.student.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("layer2") for name in reached)
    assert not any(name.startswith(("layer3", "fc")) for name in reached)


def test_label_loss_alone_is_what_trains_the_deepest_stage() -> None:
    case = Case(SelfDistillation)
    grads = []
    for methods in ([case.make()], []):
        distiller = Distiller(case.build().student.model, methods, label_weight=1.0)
        distiller.setup(case.batch, None, labels=case.labels)
        distiller.train().zero_grad()
        distiller(case.batch).loss.backward()
        grads.append(distiller.student.model.get_parameter("layer3.0.conv1.weight").grad.clone())
    assert torch.equal(*grads)


def test_the_ensemble_may_teach_the_deepest_exit_too() -> None:
    network = small_network((4, 6, 8))
    add_exits(as_classifier(network), torch.rand(2, 3, 16, 16), exits=2, heads="linear")
    case = Case(SelfDistillation, {"teacher": "logits", "kd_exits": [1, 1, 1]}, student=network)
    distiller = case.build()
    distiller(case.batch).terms["exits_kd"].raw.backward()
    assert distiller.student.model.get_parameter("fc.weight").grad.any()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"teacher": "shallowest"}, ValueError, "shallowest"),
        ({"temperature": 0.0}, ValueError, "temperature"),
        ({"ce_exits": [1.0, -1.0]}, ValueError, "ce_exits"),
        ({"ce_exits": [1.0]}, UserError, r"ce_exits=\[1.0\] has no factor for each of 2"),
        ({"kd_exits": [1.0, 1.0, 1.0]}, UserError, "kd_exits"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        made(**settings)


def test_a_student_without_exits_is_refused() -> None:
    case = Case(METHODS.get("kd"))
    distiller = Distiller(case.student, [SelfDistillation()])
    with pytest.raises(UserError, match=r"set student\.exits=auto"):
        distiller.setup(case.batch, None)
