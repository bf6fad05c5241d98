import pytest
import torch
from reference import partial
from staged_pair import TEACHER_WIDTHS, has_gradient, has_no_gradient, network, staged_pair
from torch import Tensor, nn

from understudy.losses.partial import measured_margin, normal_margin
from understudy.methods.ofd import OFD
from understudy.models import create_model


def margin_of(norm: nn.Module) -> Tensor:
    assert isinstance(norm, nn.BatchNorm2d)
    return normal_margin(norm.bias.detach(), norm.weight.detach().abs())


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
            margin_of(pair.teacher.tapped.model.get_submodule(layer.replace("preact", "bn2"))).double().numpy(),
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
    assert method.notes == ("OFD margins of the teacher's layers: layer3.0.bn2:input measured on a few images",)


def test_margin_of_a_sum_is_that_of_the_residual_branch() -> None:
    # layer2 has a projection with a BatchNorm of its own, layer1 a shortcut without one.
    teacher = network(TEACHER_WIDTHS, seed=1)
    for name, norm in teacher.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, mean=0.1 * len(name))
    method = OFD()
    staged_pair(method, teacher=teacher)
    for number in range(3):
        norm = teacher.get_submodule(f"layer{number + 1}.0.bn2")
        assert torch.equal(method.get_buffer(f"margin_{number}"), margin_of(norm))
    assert "layer2.0.preact of BatchNorm layer2.0.bn2" in method.notes[0]


def test_margin_of_inplace_activations_and_of_preactivation_networks() -> None:
    student, teacher = (create_model(name, classes=3, channels=1).network for name in ("wrn-16-1", "wrn-16-2"))
    method = OFD()
    staged_pair(method, student=student, teacher=teacher)
    assert [theirs for _, theirs in method.pairs] == ["layer2.0.bn1", "layer3.0.bn1", "bn1"]
    assert torch.equal(method.get_buffer("margin_2"), margin_of(teacher.get_submodule("bn1")))
    inplace = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    method = OFD(pairs=[("layer1", "0.2:input"), ("layer2", "0.2")])
    staged_pair(method, teacher=nn.Sequential(inplace, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))
    assert torch.equal(method.get_buffer("margin_0"), margin_of(inplace[1]))
    # Nothing is negative behind the activation.
    assert torch.equal(method.get_buffer("margin_1"), torch.zeros(4))


def test_connectors_start_as_those_of_the_authors() -> None:
    method = OFD()
    torch.manual_seed(0)
    made = method.connector((64, 8, 8), (256, 8, 8))
    assert made[0].bias is None
    assert made[0].weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)


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
