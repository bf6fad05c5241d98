import pytest
import torch
from reference import partial
from staged_pair import TEACHER_WIDTHS, has_gradient, has_no_gradient, network, staged_pair
from torch import nn

from understudy.losses.partial import measured_margin, normal_margin
from understudy.methods.ofd import OFD

PREACT = ("layer1.0.preact", "layer2.0.preact", "layer3.0.preact")


def test_term_is_that_of_the_reference_with_a_quarter_a_half_and_one() -> None:
    method = OFD()
    pair = staged_pair(method)
    pair.distiller.eval()
    ours, theirs = pair.features().features, pair.targets.features
    losses = [
        partial.ofd_value(
            connect(ours[layer]).detach().double().numpy(),
            theirs[layer].double().numpy(),
            measured_margin(theirs[layer]).double().numpy(),
        ).real
        for layer, connect in zip(PREACT, method.connectors, strict=True)
    ]
    term = pair.step().terms["ofd"]
    assert term.raw.item() == pytest.approx(losses[0] / 4 + losses[1] / 2 + losses[2], rel=1e-5)
    assert term.weighted.item() == pytest.approx(term.raw.item() / 1000, rel=1e-6)


def test_margin_of_a_batchnorm_follows_from_its_weight_and_bias() -> None:
    teacher = network(TEACHER_WIDTHS, seed=1)
    norm = teacher.get_submodule("layer3.0.bn2")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        # A negative weight turns the distribution round and leaves its width.
        norm.weight.copy_(torch.linspace(-2, 3, 12))
        norm.bias.copy_(torch.linspace(1, -1, 12))
    method = OFD(pairs=[("layer3.0.preact", "layer3.0.bn2")])
    staged_pair(method, teacher=teacher)
    expected = normal_margin(norm.bias, norm.weight.abs())
    assert torch.equal(method.get_buffer("margin_0"), expected)
    assert (expected < 0).all()


def test_what_goes_into_a_batchnorm_is_measured() -> None:
    method = OFD(pairs=[("layer3.0.preact", "layer3.0.bn2:input")])
    pair = staged_pair(method)
    expected = measured_margin(pair.targets.features["layer3.0.bn2:input"])
    assert torch.equal(method.get_buffer("margin_0"), expected)


def test_margins_are_in_checkpoints_and_not_in_the_student() -> None:
    pair = staged_pair(OFD())
    names = set(pair.distiller.state_dict())
    assert {f"methods.0.margin_{level}" for level in range(3)} <= names
    assert not any("margin" in name or "connector" in name for name in pair.distiller.deploy().state_dict())


def test_gradient_reaches_student_and_connectors() -> None:
    method = OFD()
    pair = staged_pair(method)
    pair.step().terms["ofd"].weighted.backward()
    assert has_gradient(method.connectors)
    assert has_gradient(pair.student.get_submodule("layer1"))
    assert has_no_gradient(pair.teacher)
