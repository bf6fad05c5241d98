import inspect
from collections import Counter

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.models import MODELS, create_model, default_size, model_names

# (ten classes, a hundred classes); the ResNets from the repository of seed 004, the others from Tian et al. (2020).
NUM_PARAMETERS = {
    "resnet20": (272_474, 278_324),
    "resnet32": (466_906, 472_756),
    "resnet44": (661_338, 667_188),
    "resnet56": (855_770, 861_620),
    "resnet110": (1_730_714, 1_736_564),
    "resnet8x4": (None, 1_233_540),
    "resnet32x4": (None, 7_433_860),
    "wrn-16-2": (None, 703_284),
    "wrn-40-1": (None, 569_780),
    "wrn-40-2": (None, 2_255_156),
    "wrn-28-10": (36_479_194, None),
    "vgg8": (None, 3_965_028),
    "vgg13": (None, 9_462_180),
    "mobilenetv2": (None, 812_836),
    "shufflenetv1": (None, 949_258),
    "shufflenetv2": (None, 1_355_528),
    "cnn5": (5_283_938, None),
}


def _num_parameters(name: str, num_classes: int, **settings: object) -> int:
    with torch.device("meta"):
        network = MODELS.get(name)(num_classes=num_classes, **settings)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    for num_classes, expected in zip((10, 100), NUM_PARAMETERS[name], strict=True):
        assert expected in (None, _num_parameters(name, num_classes))


def test_padding_shortcuts_have_no_parameters() -> None:
    # He et al. report 0.27 M and 0.46 M for ResNet-20 and ResNet-32 with option A.
    assert _num_parameters("resnet20", 10, shortcut="padding") == 269_722
    assert _num_parameters("resnet32", 10, shortcut="padding") == 464_154


def test_the_smallest_student_has_as_many_parameters_as_it_says() -> None:
    assert _num_parameters("cnn-xs", 10, in_channels=1) == 21_850
    assert _num_parameters("cnn-xs", 10, in_channels=1, width=3) == 160


@pytest.mark.parametrize("name", MODELS.names())
def test_every_network_trains_on_small_images(name: str) -> None:
    side = {"cnn5": 64}.get(name, 16)
    network = MODELS.get(name)(num_classes=7, in_channels=1)
    logits = network(torch.rand(2, 1, side, side))
    assert logits.shape == (2, 7)
    if name != "wrn-28-10":
        logits.sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", MODELS.names())
def test_no_activation_is_shared_or_in_place(name: str) -> None:
    with torch.device("meta"):
        network = MODELS.get(name)(num_classes=2)
    calls: Counter[nn.Module] = Counter()
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(lambda module, _args, _output: calls.update([module]))
    network(torch.zeros(2, 3, 64, 64, device="meta"))
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("name", MODELS.names())
def test_every_builder_documents_itself(name: str) -> None:
    builder = MODELS.get(name)
    assert inspect.getdoc(builder)
    parameters = inspect.signature(builder).parameters
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert default_size(name) in (8, 32, 224)


STAGES = {
    "resnet20": [(16, 32), (32, 16), (64, 8)],
    "resnet8x4": [(64, 32), (128, 16), (256, 8)],
    "wrn-16-2": [(32, 32), (64, 16), (128, 8)],
    "vgg8": [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)],
    "mobilenetv2": [(12, 16), (16, 8), (48, 4), (160, 2)],
    "shufflenetv1": [(240, 16), (480, 8), (960, 4)],
    "shufflenetv2": [(116, 16), (232, 8), (464, 4)],
    "cnn-m": [(32, 32), (64, 16), (128, 8)],
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_tappable_by_name(name: str) -> None:
    seen: dict[str, tuple[int, int]] = {}
    with torch.device("meta"):
        network = MODELS.get(name)(num_classes=2)
    for stage, module in network.named_children():
        if stage.startswith("layer"):
            module.register_forward_hook(
                lambda _module, _args, output, stage=stage: seen.update({stage: (output.shape[1], output.shape[3])})
            )
    network(torch.zeros(2, 3, 32, 32, device="meta"))
    assert seen == {f"layer{i}": shape for i, shape in enumerate(STAGES[name], start=1)}


def test_preactivation_of_a_block_is_not_overwritten() -> None:
    seen: list[torch.Tensor] = []
    network = MODELS.get("resnet8")(num_classes=2)
    network.get_submodule("layer1.0.preact").register_forward_hook(lambda *call: seen.append(call[2]))
    network(torch.randn(2, 3, 8, 8))
    assert seen[0].min() < 0


def test_padding_shortcut_subsamples_and_centres_the_channels() -> None:
    shortcut = MODELS.get("resnet8")(num_classes=2, shortcut="padding").get_submodule("layer2.0.downsample")
    image = torch.randn(2, 16, 8, 8)
    padded = shortcut(image)
    assert padded.shape == (2, 32, 4, 4)
    torch.testing.assert_close(padded[:, 8:24], image[:, :, ::2, ::2], rtol=0, atol=0)
    assert padded[:, :8].abs().sum() == padded[:, 24:].abs().sum() == 0


def test_wide_projection_sees_the_activated_input() -> None:
    network = MODELS.get("wrn-16-2")(num_classes=2).eval()
    seen: list[torch.Tensor] = []
    network.get_submodule("layer2.0.shortcut").register_forward_hook(lambda *call: seen.append(call[1][0]))
    network(torch.randn(2, 3, 8, 8))
    assert seen[0].min() == 0


def test_cnn5_keeps_its_features_at_its_own_size() -> None:
    network = MODELS.get("cnn5")(num_classes=2).eval()
    features = network.get_submodule("layer3")(torch.rand(1, 128, 27, 27))
    assert features.shape == (1, 264, 6, 6)
    assert torch.equal(network.get_submodule("resize")(features), features)


def test_names_end_with_the_patterns() -> None:
    assert model_names()[-3:] == ["torchvision:NAME", "timm:NAME", "PATH/FILE.py:FUNCTION"]
    assert {"resnet20", "wrn-16-2", "vgg8", "cnn5", "cnn-xs"} < set(model_names())


def test_unknown_shortcut_lists_the_choices() -> None:
    with pytest.raises(UserError, match="'zero': choose from projection, padding"):
        create_model("resnet8", classes=2, settings={"shortcut": "zero"})
