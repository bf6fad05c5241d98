import re
from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from toys import same_state, small_network, state

from understudy.classifier import Classifier, InputSpec
from understudy.errors import UserError
from understudy.taps import Tapped, evaluating, layer_names, probe

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Overwriting(nn.Module):
    """It does not say that it overwrites what it is given."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.mul_(2)


class Oddities(nn.Module):
    """Layers that a tap cannot or can hardly read."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.bn = nn.BatchNorm2d(1)
        self.relu = nn.ReLU(inplace=True)
        self.over = Overwriting()
        self.boom = False

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.relu(self.bn(self.twice(self.twice(image))))
        if self.boom:
            raise RuntimeError("boom")
        pooled, _ = self.pool(self.over(hidden))
        return pooled.flatten(1)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_reads_outputs_and_inputs_of_layers() -> None:
    network = small_network().eval()
    logits, features, exits = Tapped(network, ["conv", "fc:input", "conv"])(IMAGE)
    assert torch.equal(logits, network(IMAGE))
    assert list(features) == ["conv", "fc:input"]
    assert torch.equal(features["conv"], network.conv(IMAGE))
    assert torch.equal(features["fc:input"], network[:-1](IMAGE))
    assert exits == ()


def test_features_carry_the_gradient_to_the_model() -> None:
    network = small_network()
    Tapped(network, ["bn"])(IMAGE).features["bn"].square().sum().backward()
    assert isinstance(network.conv, nn.Conv2d)
    assert network.conv.weight.grad is not None
    assert network.conv.weight.grad.abs().sum() > 0


def test_names_are_those_of_a_classifiers_network() -> None:
    network = small_network().eval()
    classifier = Classifier(network, spec=InputSpec(channels=1, mean=(0.5,), std=(0.5,)), classes=["a", "b", "c"])
    features = Tapped(classifier, ["conv"])(IMAGE).features
    assert torch.equal(features["conv"], network.conv((IMAGE - 0.5) / 0.5))
    assert layer_names(classifier) == layer_names(network) == ["conv", "bn", "relu", "pool", "flatten", "dropout", "fc"]


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("convv", "no layer 'convv' in Sequential: did you mean 'conv'"),
        ("zzz", "no layer 'zzz' in Sequential: choose from bn, conv, dropout"),
        ("conv:output", "no layer 'conv:output' in Sequential"),
        ("", "no layer '' in Sequential"),
        ("network.conv", "no layer 'network.conv' in Sequential"),
    ],
)
def test_unknown_layer_is_one_line_with_a_suggestion(tap: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Tapped(small_network(), [tap])
    assert "\n" not in str(caught.value)


def test_layer_called_twice_gives_its_last_call() -> None:
    model = Oddities().eval()
    image = torch.rand(2, 1, 8, 8)
    features = Tapped(model, ["twice", "twice:input"])(image).features
    assert torch.equal(features["twice:input"], model.twice(image))


def test_copy_records_into_itself() -> None:
    original = Tapped(small_network().eval(), ["conv"])
    copied = deepcopy(original)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    for tapped in (copied, original, copied):
        assert torch.equal(tapped(IMAGE).features["conv"], tapped.model.conv(IMAGE))


def test_two_tapped_models_share_one_layer() -> None:
    network = small_network().eval()
    first, second = Tapped(network, ["conv"]), Tapped(network, ["conv", "bn"])
    assert list(first(IMAGE).features) == ["conv"]
    assert list(second(IMAGE).features) == ["conv", "bn"]


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_models_with_other_taps_get_their_own_features() -> None:
    taps = [["conv"], ["bn", "fc:input"], ["relu"], []]
    models = [Tapped(small_network(seed=seed).eval(), names) for seed, names in enumerate(taps)]
    for model in models * 2:
        found = torch.compile(model, backend="eager", fullgraph=True)(IMAGE)
        expected = model(IMAGE)
        assert list(found.features) == list(expected.features)
        assert all(torch.equal(found.features[name], expected.features[name]) for name in expected.features)


def test_probe_gives_shapes_without_the_batch() -> None:
    assert probe(small_network(), IMAGE, ["conv", "fc:input", "fc"]) == {
        "conv": (4, 8, 8),
        "fc:input": (16,),
        "fc": (3,),
    }


def test_layer_overwritten_in_place_is_refused_with_names_that_work() -> None:
    from torchvision.models import resnet18

    model, image = resnet18(num_classes=2).eval(), torch.rand(1, 3, 32, 32)
    # What makes the refusal necessary: a hook sees bn1 after the ReLU behind it.
    assert Tapped(model, ["layer1.0.bn1"])(image).features["layer1.0.bn1"].min() == 0
    with pytest.raises(UserError, match=r"'layer1\.0\.bn1' is overwritten in place") as caught:
        probe(model, image, ["layer1.0.bn1"])
    offered = re.findall("'(.*?)'", str(caught.value))[1:]
    assert "layer1.0" in offered
    for tap in offered:
        probed = probe(model, image, [tap])[tap]
        assert Tapped(model, [tap])(image).features[tap].shape[1:] == probed


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("unused", "'unused' is never reached"),
        ("pool", "'pool' gives a tuple, not one tensor"),
        ("bn", "'bn' is overwritten in place by a later operation; tap another layer instead"),
        ("over:input", "'over:input' is overwritten in place"),
    ],
)
def test_layer_without_a_usable_tensor_is_refused(tap: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        probe(Oddities(), IMAGE, [tap])
    assert "\n" not in str(caught.value)


def test_probe_leaves_the_model_as_it_was() -> None:
    model = small_network().train()
    model.dropout.eval()
    before, flags, random = state(model), [part.training for part in model.modules()], torch.get_rng_state()
    probe(model, IMAGE, ["conv", "bn:input"])
    assert same_state(model, before)
    assert [part.training for part in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_probe_cleans_up_behind_an_error() -> None:
    model = Oddities()
    model.boom = True
    with pytest.raises(RuntimeError, match="boom"):
        probe(model, IMAGE, ["bn"])
    assert model.training
    assert not any(part._forward_hooks for part in model.modules())


def test_evaluating_gives_each_module_its_own_flag_back() -> None:
    model = small_network().train()
    model.bn.eval()
    flags = [part.training for part in model.modules()]
    assert len(set(flags)) == 2
    with evaluating(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == flags
    with pytest.raises(RuntimeError, match="boom"), evaluating(model):
        raise RuntimeError("boom")
    assert [part.training for part in model.modules()] == flags
