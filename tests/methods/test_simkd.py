from copy import deepcopy

import pytest
import torch
from staged_pair import TEACHER_WIDTHS, has_gradient, has_no_gradient, network, staged_pair, train
from torch import nn
from torch.nn.functional import mse_loss
from toys import same_state, small_network, state

from understudy.classifier import Classifier, InputSpec
from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.methods.simkd import SimKD


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


def test_a_classifier_is_no_longer_of_its_architecture() -> None:
    spec = InputSpec((8, 8), 1, (0.5,), (0.5,))
    student = Classifier(network(), spec=spec, classes=("a", "b", "c"), name="resnet8", settings={"shortcut": "x"})
    pair = staged_pair(SimKD(), student=student)
    deployed = pair.distiller.deploy()
    assert isinstance(deployed, Classifier)
    assert (deployed.name, deployed.settings) == ("custom", {})
    assert (student.name, student.settings) == ("resnet8", {"shortcut": "x"})


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
    with pytest.raises(UserError, match="which knows 4 classes, not 3"):
        staged_pair(SimKD(), teacher=network(TEACHER_WIDTHS, num_classes=4))


def test_label_weight_of_the_protocol() -> None:
    assert Distiller(small_network(), [SimKD(pairs=[("relu", "relu")])]).label_weight == 0
