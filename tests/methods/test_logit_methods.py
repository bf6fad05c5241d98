from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from toys import FixedLogits, batch_of, random_batch, same_state, small_network, state

from understudy.config import complete
from understudy.distiller import Distiller
from understudy.losses.dist import correlation_losses
from understudy.losses.dkd import decoupled_kd_losses
from understudy.losses.logit import kd_loss, standardize
from understudy.losses.multi_level import multi_level_losses
from understudy.losses.wsld import image_weights, weighted_kd_loss
from understudy.methods.base import METHODS, Method
from understudy.methods.ctkd import CTKD
from understudy.methods.dist import DIST
from understudy.methods.dkd import DKD
from understudy.methods.dml import DML
from understudy.methods.kd import KD
from understudy.methods.label_smoothing import LabelSmoothing
from understudy.methods.logits import LogitMethod
from understudy.methods.mlkd import MLKD
from understudy.methods.weighting import Ramp
from understudy.methods.wsld import WSLD
from understudy.teachers.frozen import Teacher
from understudy.types import Outputs

STUDENT = torch.tensor([[1.0, 2, 3], [0, 0, 1], [4, -1, 0]])
TEACHER = torch.tensor([[3.0, 2, 1], [2, 0, -2], [1, 0, 2]])
LABELS = torch.tensor([2, 0, 1])

# Name, class, default weights, label weight, whether it needs labels.
DEFAULTS = [
    ("dkd", DKD, {"dkd_target": 1.0, "dkd_nontarget": 8.0}, 1.0, True),
    ("dist", DIST, {"dist_inter": 2.0, "dist_intra": 2.0}, 1.0, False),
    ("mlkd", MLKD, {"mlkd_instance": 0.9, "mlkd_class": 0.9, "mlkd_batch": 0.9}, 0.1, False),
    ("wsld", WSLD, {"wsld": 2.5}, 1.0, True),
    ("ctkd", CTKD, {"ctkd": 0.9}, 0.1, False),
    ("dml", DML, {"dml": 1.0}, 1.0, False),
    ("label-smoothing", LabelSmoothing, {"label_smoothing": 1.0}, 0.0, True),
]
NAMES = [name for name, *_ in DEFAULTS]


def raw(method: Method, student: Tensor = STUDENT, teacher: Tensor = TEACHER) -> dict[str, float]:
    """The terms as they are logged."""
    distiller = Distiller(FixedLogits(student), [method])
    step = distiller(batch_of(torch.zeros(len(student), 1), LABELS), Outputs(teacher, {}))
    return {name: term.raw.item() for name, term in step.terms.items() if name != "ce"}


@pytest.mark.parametrize(("name", "method", "weights", "label_weight", "needs_labels"), DEFAULTS)
def test_defaults(
    name: str, method: type[Method], weights: Mapping[str, float], label_weight: float, needs_labels: bool
) -> None:
    made = METHODS.get(name)()
    assert type(made) is method
    assert {term: made.weight(term).item() for term in made.terms} == pytest.approx(weights)
    assert made.label_weight == label_weight
    assert made.needs_labels == needs_labels
    assert made.needs_teacher == (name != "label-smoothing")


def test_other_defaults_are_those_of_the_protocols() -> None:
    assert DKD().temperature == DIST().temperature == 4
    assert WSLD().temperature == 2
    assert MLKD().temperatures.tolist() == [2, 3, 4, 5, 6]
    assert LabelSmoothing().smoothing == pytest.approx(0.1)


TERMS: list[tuple[Callable[[], Method], Callable[[Tensor, Tensor], tuple[Tensor, ...]]]] = [
    (lambda: DKD(temperature=3.0), lambda s, t: decoupled_kd_losses(s, t, LABELS, 3.0)),
    (lambda: DIST(temperature=3.0), lambda s, t: correlation_losses(s, t, 3.0)),
    (lambda: MLKD(temperatures=[1.5, 3.0]), lambda s, t: multi_level_losses(s, t, [1.5, 3.0])),
    (
        lambda: WSLD(temperature=3.0),
        lambda s, t: (weighted_kd_loss(s, t, image_weights(s, t, LABELS), 3.0),),
    ),
    (lambda: CTKD(min_temperature=2.0, temperature_range=4.0), lambda s, t: (kd_loss(s, t, 2 + 4 * 0.7310585786),)),
    (lambda: LabelSmoothing(smoothing=0.3), lambda s, t: (cross_entropy(s, LABELS, label_smoothing=0.3),)),
]


@pytest.mark.parametrize(("make", "loss"), TERMS)
def test_terms_are_those_of_the_loss_in_order(
    make: Callable[[], Method], loss: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
) -> None:
    method = make()
    expected = dict(zip(method.terms, (part.item() for part in loss(STUDENT, TEACHER)), strict=True))
    assert raw(method) == pytest.approx(expected, rel=1e-5)


SETTINGS: dict[type[LogitMethod], dict[str, Any]] = {
    KD: {"temperature": 2.0},
    DKD: {"temperature": 2.0},
    DIST: {"temperature": 2.0},
    MLKD: {"temperatures": [2.0, 4.0]},
    CTKD: {},
}


@pytest.mark.parametrize("method", SETTINGS)
def test_standardisation_composes_with_every_logit_method(method: type[LogitMethod]) -> None:
    made: Callable[..., LogitMethod] = method
    plain, standardized = made(**SETTINGS[method]), made(**SETTINGS[method], logits="standardized")
    found = raw(standardized)
    assert found == pytest.approx(raw(plain, standardize(STUDENT), standardize(TEACHER)), rel=1e-5, abs=1e-6)
    assert found != pytest.approx(raw(plain), rel=1e-2)
    assert raw(standardized, 7 * STUDENT + 3, TEACHER / 5 - 2) == pytest.approx(found, rel=1e-3, abs=1e-4)


def test_standardisation_leaves_the_weights_of_images_alone() -> None:
    found = raw(WSLD(logits="standardized"))["wsld"]
    weights = image_weights(STUDENT, TEACHER, LABELS)
    both = standardize(STUDENT), standardize(TEACHER)
    assert found == pytest.approx(weighted_kd_loss(*both, weights).item(), rel=1e-5)
    assert found != pytest.approx(weighted_kd_loss(*both, image_weights(*both, LABELS)).item(), rel=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_the_student_and_never_the_teacher(name: str) -> None:
    student, model = small_network(), small_network(seed=1)
    teacher, before = Teacher(model), state(model)
    distiller = Distiller(student, [METHODS.get(name)()], label_weight=0.0).train()
    batch = random_batch()
    distiller.set_epoch(5, 20)
    distiller(batch, teacher(batch) if name != "label-smoothing" else None).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in distiller.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in student.fc.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert same_state(model, before)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_method_is_deployed(name: str) -> None:
    distiller = Distiller(small_network(), [METHODS.get(name)()])
    assert distiller.deploy().state_dict().keys() == small_network().state_dict().keys()
    assert {key for key in distiller.state_dict() if key.startswith("methods")} == (
        {"methods.0.theta"} if name == "ctkd" else set()
    )


@pytest.mark.parametrize("name", [name for name, _, _, _, needs_labels in DEFAULTS if needs_labels])
def test_unlabelled_images_are_an_error_where_labels_are_needed(name: str) -> None:
    method = METHODS.get(name)()
    with pytest.raises(ValueError, match="needs the label of each image"):
        method(Outputs(STUDENT, {}), Outputs(TEACHER, {}), batch_of(torch.zeros(3, 1)))


def test_label_smoothing_takes_the_place_of_the_label_loss() -> None:
    batch = random_batch()
    smoothed = Distiller(small_network(), [LabelSmoothing(smoothing=0.2)]).eval()
    plain = Distiller(small_network(), label_smoothing=0.2).eval()
    step = smoothed(batch)
    assert list(step.terms) == ["label_smoothing"]
    assert torch.allclose(step.loss, plain(batch).loss, atol=1e-6)


BAD: list[tuple[Callable[[], Method], str]] = [
    (lambda: DKD(temperature=0.0), "temperature must be above 0, got 0"),
    (lambda: DKD(target_weight=-1.0), "the weight of 'dkd_target' must be .* got -1"),
    (lambda: DIST(temperature=-1.0), "temperature must be above 0, got -1"),
    (lambda: DIST(intra_weight=float("inf")), "the weight of 'dist_intra' must be .* got inf"),
    (lambda: MLKD(temperatures=[]), "temperatures must be one or more numbers, got none"),
    (lambda: MLKD(temperatures=[2.0, 0.0]), "temperature must be above 0, got 0"),
    (lambda: WSLD(temperature=0.0), "temperature must be above 0, got 0"),
    (lambda: LabelSmoothing(smoothing=1.5), "smoothing must be between 0 and 1, got 1.5"),
    (lambda: CTKD(min_temperature=0.0), "temperature must be above 0, got 0"),
    (lambda: CTKD(temperature_range=0.0), "temperature must be above 0, got 0"),
    (lambda: CTKD(curriculum_epochs=0.0), "curriculum_epochs must be above 0, got 0"),
    (lambda: DKD(logits="centred"), "logits must be raw or standardized, got 'centred'"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_settings_are_refused(make: Callable[[], Method], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", NAMES)
def test_each_term_may_have_a_ramp_of_its_own(name: str) -> None:
    plain = METHODS.get(name)()
    own = [key for key in complete(METHODS.get(name), {}, name) if key.endswith("weight")]
    assert len(own) == len(plain.terms)
    for key, term in zip(own, plain.terms, strict=True):
        method = METHODS.get(name)(**complete(METHODS.get(name), {key: {"start": 0, "end": 3, "to_epoch": 4}}, name))
        assert method.ramps == {term: Ramp(0, 3, to_epoch=4)}
        method.set_epoch(2, 10)
        assert method.weight(term) == 1.5
        assert all(method.weight(other) == plain.weight(other) for other in plain.terms if other != term)


def test_the_published_warm_up_of_dkd() -> None:
    """mdistiller multiplies by the number of the epoch, counted from 1, over 20, and at most by 1."""
    method = DKD(target_weight=Ramp(0.05, 1, to_epoch=19), nontarget_weight=Ramp(0.4, 8, to_epoch=19))
    for epoch in (0, 1, 10, 18, 19, 20, 239):
        method.set_epoch(epoch, 240)
        assert method.weight("dkd_target").item() == pytest.approx(min((epoch + 1) / 20, 1))
        assert method.weight("dkd_nontarget").item() == pytest.approx(8 * min((epoch + 1) / 20, 1))


def test_dml_with_a_frozen_teacher_is_kd_without_softening() -> None:
    outputs = Outputs(STUDENT, {}), Outputs(TEACHER, {}), batch_of(torch.zeros(3, 1, 1, 1), LABELS)
    assert torch.equal(DML()(*outputs)["dml"], KD(temperature=1.0)(*outputs)["kd"])
