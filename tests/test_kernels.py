"""Layers that half precision gets wrong stay in float32."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from understudy import create_model, kernels
from understudy.exits import add_exits, split_stages
from understudy.kernels import is_kept, keep_right
from understudy.taps import EXITS, Tapped
from understudy.teachers.fast import quicken

CLASSES = tuple("abcdefghij")
half = torch.autocast("cpu", torch.bfloat16)

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Wrong(nn.Conv2d):
    """A convolution whose half-precision kernel mixes up its channels."""

    def forward(self, input: Tensor) -> Tensor:
        right = super().forward(input)
        return right.flip(1) if right.dtype == torch.bfloat16 else right


class WrongBackwards(nn.Conv2d):
    """One whose half-precision gradient is half of what it should be."""

    def forward(self, input: Tensor) -> Tensor:
        right = super().forward(input)
        return (right + right.detach()) / 2 if right.dtype == torch.bfloat16 else right


def network(layer: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), layer, nn.Flatten())


def kept(model: nn.Module, run: nn.Module | None = None, images: Tensor = IMAGES) -> list[str]:
    return keep_right(model, lambda: half(run or model)(images), torch.bfloat16)


def off(rounded: Tensor, exact: Tensor) -> float:
    return ((rounded.float() - exact).norm() / exact.norm()).item()


def gradient(model: nn.Sequential) -> Tensor:
    found = model.get_parameter("3.weight").grad
    assert found is not None
    return found


@pytest.mark.parametrize("kind", [Wrong, WrongBackwards])
def test_a_wrong_layer_is_found_and_right_from_then_on(kind: type[nn.Conv2d]) -> None:
    model = network(kind(4, 6, 3)).train()
    before = deepcopy(model)
    assert kept(model) == ["3"]
    assert all(module.training for module in model.modules())
    assert all(torch.equal(buffer, model.get_buffer(name)) for name, buffer in before.named_buffers())
    exact = deepcopy(before).eval()
    wrong, right = half(before.eval()), half(model.eval())
    for net in (wrong, right, exact):
        output = net(IMAGES)
        (output * torch.linspace(0, 1, output.shape[1])).square().sum().backward()
    assert off(gradient(before), gradient(exact)) > 0.2
    assert off(gradient(model), gradient(exact)) < 0.05
    assert torch.equal(model(IMAGES), before(IMAGES)), "without autocast nothing changes"


class Sum(nn.Conv2d):
    """A convolution that takes something to add."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        right = super().forward(input) + other
        return right.flip(1) if right.dtype == torch.bfloat16 else right


class Calls(nn.Module):
    """Calls its layers otherwise than with one image."""

    def __init__(self) -> None:
        super().__init__()
        self.named = nn.Conv2d(3, 4, 3)
        self.sum = Sum(4, 6, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.sum(self.named(input=image), torch.ones((), dtype=image.dtype))


def test_layers_may_be_called_in_other_ways() -> None:
    torch.manual_seed(0)
    model = Calls()
    exact = model(IMAGES).detach()
    assert kept(model) == ["sum"]
    assert off(half(model)(IMAGES), exact) < 0.05


def test_right_layers_stay_in_half_precision() -> None:
    model = network(nn.Conv2d(4, 6, 3))
    assert kept(model) == []
    assert half(model)(IMAGES).dtype == torch.bfloat16


def test_no_layer_of_a_network_with_exits_is_wrong_on_this_processor() -> None:
    # On processors with AMX the second convolution of the first head was, with torch 2.15.
    torch.manual_seed(0)
    model = create_model("resnet20", classes=CLASSES)
    images = torch.rand(8, 3, 32, 32)
    add_exits(model, images, exits=["layer1", "layer2"])
    tapped = Tapped(model, [EXITS]).eval()
    kept(model, tapped, images)
    with torch.no_grad():
        exact, rounded = tapped(images), half(tapped)(images)
    for ours, theirs in zip((*rounded.exits, rounded.logits), (*exact.exits, exact.logits), strict=True):
        centred = theirs - theirs.mean(0)
        assert off(ours - ours.mean(0), centred) < 0.1


def test_a_network_with_kept_layers_still_divides_into_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "TOLERANCE", -1.0)
    model = create_model("resnet8", classes=CLASSES).eval()
    images = torch.rand(2, 3, 32, 32)
    add_exits(model, images, exits=["layer1"])
    assert "layer2.0.conv1" in kept(model.network, model, images)
    assert len(split_stages(model, images).stages) == 2


def test_a_quickened_teacher_keeps_it_in_float32() -> None:
    model = network(Wrong(4, 6, 3)).eval()
    exact = model(IMAGES)
    assert kept(model) == ["3"]
    fast = quicken(model, IMAGES, precision=torch.bfloat16)
    assert fast.get_parameter("0.weight").dtype == torch.bfloat16
    assert fast.get_parameter("3.weight").dtype == torch.float32
    assert is_kept(fast.get_submodule("3"))
    with torch.no_grad():
        assert off(half(fast)(IMAGES), exact) < 0.05
