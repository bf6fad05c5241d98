"""What goes into the last activation of a block, also where that is overwritten."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.dataflow import record
from understudy.models import create_model
from understudy.stages import find_stages
from understudy.taps import Tapped

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
# The last block before each tap.
BLOCKS = {
    "torchvision:resnet18": {f"layer{i}.1.relu:input": f"layer{i}.1" for i in (1, 2, 3, 4)},
    "torchvision:resnet50": {f"layer{i}.{n}.relu:input": f"layer{i}.{n}" for i, n in ((1, 2), (2, 3), (3, 5), (4, 2))},
    "timm:test_resnet": {f"layer{i}.0.act{n}:input": f"layer{i}.0" for i, n in ((1, 2), (2, 2), (3, 3), (4, 2))},
    "resnet20": {f"layer{i}.2.preact": f"layer{i}.2" for i in (1, 2, 3)},
    "cnn-m": {f"layer{i}.bn2": f"layer{i}" for i in (1, 2, 3)},
    "wrn-16-1": {"layer2.0.bn1": "layer1.1", "layer3.0.bn1": "layer2.1", "bn1": "layer3.1"},
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    made = create_model(name, classes=3).network.eval()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # Else the residual branch of networks of timm is 0.
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    return made


def by_hand(network: nn.Module, tap: str, block: nn.Module, given: Tensor) -> Tensor:
    """The tap's value from what goes into the block before it."""
    parts = dict(block.named_children())
    if "preact" not in parts and tap.endswith("bn2"):
        *layers, _ = block.children()
        return nn.Sequential(*layers)(given)
    if "bn1" in tap:
        return network.get_submodule(tap)(block(given))
    residual = given
    for i in (1, 2, 3):
        if f"conv{i}" in parts:
            residual = parts[f"bn{i}"](parts[f"conv{i}"](residual if i == 1 else F.relu(residual)))
    shortcut = parts.get("downsample")
    return residual + (given if shortcut is None else shortcut(given))


@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_taps_are_the_blocks_computed_by_hand(name: str) -> None:
    model, blocks = network(name), BLOCKS[name]
    # Not in place, so that computing by hand changes nothing; the taps are read from the network as it is.
    plain = without_inplace(model)
    assert [end.preact for end in find_stages(model, IMAGE).ends] == list(blocks)
    found = Tapped(model, list(blocks))(IMAGE).features
    given = Tapped(plain, [f"{block}:input" for block in blocks.values()])(IMAGE).features
    for tap, block in blocks.items():
        expected = by_hand(plain, tap, plain.get_submodule(block), given[f"{block}:input"])
        torch.testing.assert_close(found[tap], expected, rtol=1e-5, atol=1e-5)
        assert expected.min() < 0


def without_inplace(model: nn.Module) -> nn.Module:
    copy = deepcopy(model)
    for layer in copy.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False
    return copy


def test_gradient_and_copies_are_those_without_inplace_activations() -> None:
    model = create_model("torchvision:resnet18", classes=3).network
    taps = ["layer2.1.relu:input", "layer4.1.relu:input"]
    tapped = Tapped(model, taps)
    models = (tapped, deepcopy(tapped), Tapped(without_inplace(model), taps))
    gradients: list[list[Tensor]] = []
    for one in models:
        features = one.train()(IMAGE).features
        torch.stack([feature.square().mean() for feature in features.values()]).sum().backward()
        gradients.append([weight.grad for weight in one.parameters() if weight.grad is not None])
    first, *others = gradients
    assert any(gradient.any() for gradient in first)
    for other in others:
        torch.testing.assert_close(other, first)


def test_inplace_activation_is_read_in_one_graph() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    model = nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    tapped = Tapped(model, ["0.2:input"])
    torch.compiler.reset()
    found = torch.compile(tapped, backend="aot_eager", fullgraph=True)(IMAGE).features["0.2:input"]
    torch.compiler.reset()
    assert found.min() < 0
    assert torch.equal(found, tapped(IMAGE).features["0.2:input"])


class Functional(nn.Module):
    """Activations that are no layers; the last one overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4))
        self.two = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8))
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> Tensor:
        features = F.relu(self.two(F.relu(self.one(image))))
        return self.fc(F.relu_(self.block(features)).mean((2, 3)))


def test_functions_activate_too() -> None:
    model = Functional().eval()
    flow = record(model, IMAGE)
    one = flow.calls["one"]
    assert flow.is_activated_later(one.output)
    assert not one.activated
    # What a function overwrites no hook can read.
    assert not flow.calls["block"].usable


class Sums(nn.Module):
    """A block whose last activation is a function, behind a sum that has no name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.conv(features) + features)


def test_an_activation_that_cannot_be_read_is_said() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), Sums(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    [end] = find_stages(model, IMAGE).ends
    assert (end.layer, end.preact, end.activated) == ("2", "2", True)
    # A linear bottleneck has no activation to look behind.
    ends = find_stages(create_model("torchvision:mobilenet_v2", classes=3).network, IMAGE).ends
    assert [(end.layer, end.preact, end.activated) for end in ends[1:2]] == [("features.3", "features.3", False)]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("resnet20", ["relu"]),
        ("wrn-16-1", ["conv1"]),
        ("torchvision:resnet18", ["maxpool"]),
        ("cnn-xs", []),
        ("vgg8", []),
    ],
)
def test_stem_is_what_goes_into_the_first_block(name: str, stem: list[str]) -> None:
    found = find_stages(create_model(name, classes=3).network, IMAGE)
    assert [end.layer for end in found.stem] == stem


def test_norm_that_a_layer_comes_from() -> None:
    model = network("torchvision:resnet18")
    flow = record(model, IMAGE)
    for tap, norm in {
        "layer2.0.bn1": "layer2.0.bn1",
        # Of a sum it is the end of the longer branch, whichever of the two was computed last.
        "layer2.0.relu:input": "layer2.0.bn2",
        "layer2.0.downsample": "layer2.0.downsample.1",
        "layer2.0": None,
        "layer2.0.conv1": None,
        "fc": None,
    }.items():
        found = flow.norm_of(tap)
        assert (found and found.path) == norm
