from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from understudy.errors import UserError
from understudy.models import create_model, freeze, head_of, replace_head

Build = Callable[..., nn.Module]


def _train(network: nn.Module) -> dict[str, Tensor]:
    """One step; returns the state before."""
    before = {key: value.clone() for key, value in network.state_dict().items()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.train()
    cross_entropy(network(torch.randn(8, 3, 8, 8)), torch.arange(8)).backward()
    torch.optim.SGD(trained, 0.1).step()
    return before


def _changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}


def test_head_of_resnet18_with_two_classes_has_1026_parameters() -> None:
    with torch.device("meta"):
        network = create_model("torchvision:resnet18", classes=2).network
    assert freeze(network, train="head") == (1026, 11_177_538 - 1026)
    assert freeze(network, train="all") == (11_177_538, 0)


def test_longer_head_by_path() -> None:
    # Seed 003's teacher: 66,954 trainable of 11,243,466.
    with torch.device("meta"):
        network = create_model("torchvision:resnet18", classes=2).network
        network.set_submodule(
            "fc", nn.Sequential(nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
        )
    assert freeze(network, train=["fc"]) == (66_954, 11_243_466 - 66_954)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet8", "fc"),
        ("cnn5", "fc3"),
        ("torchvision:squeezenet1_1", "classifier.1"),
        ("timm:test_vit", "head"),
        ("timm:levit_128s", "head.linear"),
    ],
)
def test_head_is_the_layer_that_makes_the_logits(name: str, head: str) -> None:
    assert head_of(create_model(name, classes=2).network) == head


def test_two_heads() -> None:
    small: dict[str, object] = {"img_size": 32, "depth": 1}
    network = create_model("timm:deit_tiny_distilled_patch16_224", classes=2, settings=small).network
    assert head_of(network) == "head"
    freeze(network, train="head")
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}
    replace_head(network, 5)
    assert network.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 5)


def test_network_without_a_head() -> None:
    with pytest.raises(ValueError, match="no linear layer"):
        head_of(nn.ReLU())


def test_only_chosen_modules_train(build: Build) -> None:
    network = build("cnn-s")
    freeze(network, train=["layer2", "fc"], batchnorm=True)
    changed = _changed(network, _train(network))
    assert {key.partition(".")[0] for key in changed} == {"layer2", "fc"}
    assert "layer2.bn1.running_mean" in changed


def test_statistics_of_frozen_layers_move_without_the_option(build: Build) -> None:
    network = build("cnn-s")
    freeze(network, train="head")
    changed = _changed(network, _train(network))
    assert "layer1.bn1.running_mean" in changed
    assert "layer1.bn1.weight" not in changed


@pytest.mark.parametrize("copy", [False, True])
def test_buffers_stay_bit_identical(copy: bool, build: Build) -> None:
    network = build("cnn-s")
    keys = list(network.state_dict())
    freeze(network, train="all", batchnorm=True)
    network = deepcopy(network) if copy else network
    assert list(network.state_dict()) == keys
    changed = _changed(network, _train(network))
    assert changed == {name for name, _ in network.named_parameters()}
    assert network.training


def test_copy_keeps_its_own_statistics_frozen(build: Build) -> None:
    network = build("cnn-s")
    freeze(network, train="all", batchnorm=True)
    copy = deepcopy(network)
    freeze(network, train="all")
    assert network.train().get_submodule("layer1.bn1").training
    assert not copy.train().get_submodule("layer1.bn1").training


def test_unknown_module(build: Build) -> None:
    with pytest.raises(UserError, match="no module 'layer4' to train: did you mean 'layer"):
        freeze(build("cnn-s"), train=["layer4"])
