from copy import deepcopy
from pathlib import Path

import pytest
import torch
from staged_pair import TEACHER_WIDTHS, Pair, has_gradient, has_no_gradient, network, staged_pair, train
from torch import nn
from torch.nn.functional import mse_loss
from toys import same_state, small_network, state

from understudy.classifier import Classifier, InputSpec
from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.methods.simkd import SimKD
from understudy.models import load_model, save_model
from understudy.teachers import AdjustedClassifier, Ensemble


def test_answers_with_the_teachers_head_on_the_projected_map() -> None:
    method = SimKD()
    pair = staged_pair(method)
    train(pair, steps=2, lr=0.05)
    pair.distiller.eval()
    before = state(pair.distiller)
    deployed = pair.distiller.deploy().eval()
    projected = method.projector(pair.features().features["layer3"])
    head = pair.teacher.tapped.model.get_submodule("fc")
    assert torch.allclose(deployed(pair.batch.image), head(projected.mean((2, 3))), atol=1e-6)
    assert not torch.allclose(deployed(pair.batch.image), pair.features().logits, atol=1e-2)
    assert same_state(pair.distiller, before)
    assert all(parameter.requires_grad for parameter in deployed.parameters())
    # Nothing is shared: what is done to the deployed student does not come back.
    assert not any(parameter.requires_grad for parameter in method.head.parameters())
    shared = {parameter.data_ptr() for parameter in pair.distiller.parameters()}
    assert not any(parameter.data_ptr() in shared for parameter in deployed.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in deployed.modules())


def test_a_student_with_the_teachers_maps_answers_as_the_teacher() -> None:
    method = SimKD()
    teacher = network(TEACHER_WIDTHS, seed=1)
    student = deepcopy(teacher)
    nn.init.zeros_(student.fc.weight)
    pair = staged_pair(method, teacher=teacher, student=student)
    method.projector = nn.Identity()
    pair.distiller.eval()
    assert pair.step().terms["simkd"].raw == 0
    assert torch.allclose(pair.distiller.deploy()(pair.batch.image), pair.targets.logits)


def test_term_is_the_mean_squared_difference_and_no_label_counts() -> None:
    method = SimKD()
    pair = staged_pair(method)
    pair.distiller.eval()
    step = pair.step()
    expected = mse_loss(method.projector(pair.features().features["layer3"]), pair.targets.features["layer3"])
    assert list(step.terms) == ["simkd"]
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_learns_and_leaves_both_heads_alone() -> None:
    method = SimKD()
    pair = staged_pair(method)
    heads = state(pair.student.get_submodule("fc")), state(method.head)
    losses = train(pair, steps=10, lr=0.1)
    assert losses[-1] < losses[0]
    assert same_state(pair.student.get_submodule("fc"), heads[0])
    assert same_state(method.head, heads[1])


def test_gradient_reaches_student_and_projector() -> None:
    method = SimKD()
    pair = staged_pair(method)
    pair.step().loss.backward()
    assert has_gradient(method.projector)
    assert has_gradient(pair.student.get_submodule("layer3"))
    assert has_no_gradient(method.head)
    assert has_no_gradient(pair.teacher)


@pytest.mark.parametrize(("layer", "side"), [("layer3", 2), ("layer2", 4)])
def test_maps_of_different_size_meet_at_the_smaller(layer: str, side: int) -> None:
    """A student of twice the resolution is pooled in front of the projector, also when deployed."""
    student = network((4, 4, 6, 8))
    if layer == "layer2":
        # Without the stride of the last stage its map is as large as that of the stage before.
        student.layer3[0].conv1.stride = student.layer3[0].downsample[0].stride = (1, 1)
    method = SimKD()
    pair = staged_pair(method, student=student)
    pair.distiller.eval()
    assert pair.features().features["layer3"].shape[2] == side
    assert method.projector(pair.features().features["layer3"]).shape[2:] == (2, 2)
    assert pair.distiller.deploy()(pair.batch.image).shape == (6, 3)


def classifier(net: nn.Module, classes: str = "abc") -> Classifier:
    return Classifier(net, spec=InputSpec((8, 8), 1, (0.5,), (0.5,)), classes=tuple(classes))


@pytest.mark.parametrize(("side", "bias"), [(2, True), (4, False), (3, True)])
def test_a_saved_student_is_built_again(tmp_path: Path, side: int, bias: bool) -> None:
    """Its changes are noted in the copy that is deployed, also a head without bias and a pool before the projector."""
    teacher = network(TEACHER_WIDTHS, seed=1)
    teacher.fc = nn.Linear(12, 3, bias=bias)
    student = network()
    # The map before the projector is as large as the teacher's of 2x2, or twice or one and a half times that.
    student.layer3.append({2: nn.Identity(), 4: nn.Upsample(scale_factor=2), 3: nn.Upsample(size=(3, 3))}[side])
    given = classifier(deepcopy(student))
    pair = staged_pair(SimKD(reduction=3), student=given, teacher=teacher)
    train(pair, steps=2, lr=0.05)
    deployed = pair.distiller.deploy().eval()
    assert isinstance(deployed, Classifier)
    assert (len(deployed.changes), given.changes) == (1, ())
    save_model(deployed, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", network=student)
    assert torch.equal(loaded(pair.batch.image), deployed(pair.batch.image))
    assert loaded.changes == deployed.changes


def test_takes_the_rows_of_the_students_classes() -> None:
    """A teacher with more classes in another order teaches as one whose head has only the rows of the student's."""
    big = network(TEACHER_WIDTHS, num_classes=4, seed=1)
    groups = ((2,), (3,), (0,))
    mapped = AdjustedClassifier(classifier(deepcopy(big), "abcd"), classes=("c", "d", "a"), groups=groups)
    pair = staged_pair(SimKD(), student=classifier(network()), teacher=mapped)
    pair.distiller.eval()
    pooled = method_of(pair).projector(pair.features().features["layer3"]).mean((2, 3))
    expected = big.fc(pooled)[:, [2, 3, 0]]
    assert torch.allclose(pair.distiller.deploy().eval()(pair.batch.image), expected, atol=1e-6)


def method_of(pair: Pair) -> SimKD:
    (method,) = pair.distiller.methods
    assert isinstance(method, SimKD)
    return method


def test_teachers_without_one_head_are_refused() -> None:
    teacher = network(TEACHER_WIDTHS, num_classes=4, seed=1)
    merged = AdjustedClassifier(classifier(teacher, "abcd"), classes=("a", "b", "c"), groups=((0,), (1, 3), (2,)))
    with pytest.raises(UserError, match="no row for several classes together"):
        staged_pair(SimKD(), teacher=merged)
    ensemble = Ensemble([network(TEACHER_WIDTHS), network(TEACHER_WIDTHS)])
    with pytest.raises(UserError, match="one teacher, not of several: learn from one member"):
        staged_pair(SimKD(pairs=[("layer3", "members.0.layer3")]), teacher=ensemble)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one pair of layers, got 2"):
        SimKD(pairs=[("layer2", "layer2"), ("layer3", "layer3")])
    with pytest.raises(ValueError, match="reduction must be 1 or more"):
        SimKD(reduction=0)
    with pytest.raises(UserError, match="simkd needs the last map before the head: 'layer2' has 6 channels"):
        staged_pair(SimKD(pairs=[("layer2", "layer3")]))
    with pytest.raises(UserError, match="'layer2' has 8 channels"):
        staged_pair(SimKD(pairs=[("layer3", "layer2")]))
    with pytest.raises(UserError, match="simkd reads maps"):
        staged_pair(SimKD(pairs=[("fc:input", "fc:input")]))
    with pytest.raises(UserError, match="behind a layer of the student, not at 'layer3"):
        staged_pair(SimKD(pairs=[("layer3.0.relu2:input", "layer3")]))
    with pytest.raises(UserError, match="which knows 4 classes, not 3"):
        staged_pair(SimKD(), teacher=network(TEACHER_WIDTHS, num_classes=4))


def test_a_student_that_would_not_run_is_refused_before_the_training() -> None:
    student = network()
    student.layer3.append(nn.BatchNorm2d(8))
    with pytest.raises(UserError, match=r"does not run with what SimKD puts into it \(running_mean .*other pairs"):
        staged_pair(SimKD(pairs=[("layer3.0", "layer3")]), student=student)


def test_label_weight_of_the_protocol() -> None:
    assert Distiller(small_network(), [SimKD(pairs=[("relu", "relu")])]).label_weight == 0
