from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from toys import same_state, small_network, state

from understudy.dataflow import record
from understudy.matching import Match, explain, match_layers
from understudy.models import create_model
from understudy.stages import find_stages
from understudy.taps import Tapped, probe


def own(name: str, *, channels: int = 3) -> nn.Module:
    return create_model(name, classes=10, channels=channels)


def from_torchvision(name: str) -> nn.Module:
    from torchvision.models import get_model

    return get_model(name, num_classes=4)


def from_timm(name: str, **settings: object) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=4, **settings)


def matched(student: nn.Module, teacher: nn.Module, size: int, *, channels: int = 3) -> Match:
    return match_layers(student, teacher, torch.zeros(1, channels, size, size))


def ends(model: nn.Module, size: int, *, channels: int = 3) -> list[str]:
    return [end.layer for end in find_stages(model, torch.zeros(1, channels, size, size)).ends]


def chain(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1)


class Residual(nn.Module):
    """A block whose inner layers see only a part of what goes on."""

    def __init__(self, before: int, after: int, *, stride: int, inplace: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(before, after), nn.ReLU(), conv(after, after, stride))
        self.shortcut = nn.Conv2d(before, after, 1, stride)
        self.act = nn.ReLU(inplace)

    def forward(self, image: Tensor) -> Tensor:
        return self.act(self.body(image) + self.shortcut(image))


class Wrapped(nn.Module):
    """A network inside another, which gives a dictionary, and changes the last map in place."""

    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            OrderedDict(
                stem=conv(1, 4),
                one=Residual(4, 6, stride=2, inplace=inplace),
                two=Residual(6, 8, stride=2, inplace=inplace),
            )
        )
        self.fc = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> Tensor:
        feature = self.backbone["two"](self.backbone["one"](self.backbone["stem"](image)))
        return self.fc(feature.mean((2, 3)))


RESIDUAL = (("layer1", "layer1"), ("layer2", "layer2"), ("layer3", "layer3"))


def test_residual_networks_of_two_depths() -> None:
    found = matched(own("resnet20"), own("resnet56"), 32)
    assert found == Match(
        stages=RESIDUAL,
        middle=(("layer2", "layer2"),),
        last=(("layer3", "layer3"),),
        preact=tuple((f"layer{i}.2.preact", f"layer{i}.8.preact") for i in (1, 2, 3)),
        pooled=(("fc:input", "fc:input"),),
        final=(("layer3", "layer3"),),
        stem=(("relu", "relu"),),
    )


def test_a_network_whose_stages_end_before_the_activation() -> None:
    found = matched(own("resnet8"), own("wrn-16-2"), 32)
    assert found.stages == RESIDUAL
    # There it is the BatchNorm that reads the sums.
    norms = ("layer2.0.bn1", "layer3.0.bn1", "bn1")
    assert found.preact == tuple((f"layer{i}.0.preact", norm) for i, norm in enumerate(norms, start=1))
    assert found.stem == (("relu", "conv1"),)
    # What the head pools stands behind the last block.
    assert found.final == (("layer3", "relu"),)


def test_small_networks_of_unequal_depth() -> None:
    found = matched(own("cnn-xs", channels=1), own("cnn-m", channels=1), 8, channels=1)
    assert found.stages == (("layer1", "layer1"), ("layer2", "layer3"))
    assert found.preact == (("layer1.bn1", "layer1.bn2"), ("layer2.bn1", "layer3.bn2"))
    assert found.middle == (("layer1", "layer1"),)


RESNET = ("layer1", "layer2", "layer3", "layer4")
FOREIGN = {
    "mobilenet_v3_small": ("features.1", "features.3", "features.8", "features.12"),
    "convnext_tiny": ("features.1", "features.3", "features.5", "features.7"),
    "swin_t": ("features.1", "features.3", "features.5", "features.7"),
    "densenet121": tuple(f"features.denseblock{i}" for i in (1, 2, 3, 4)),
    "efficientnet_b0": ("features.2", "features.3", "features.5", "features.8"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_stages_of_torchvision(name: str) -> None:
    student, teacher = from_torchvision(name), from_torchvision("resnet50")
    found = matched(student, teacher, 224)
    assert found.stages == tuple(zip(FOREIGN[name], RESNET, strict=True))
    shapes = probe(student, torch.zeros(1, 3, 224, 224), FOREIGN[name])
    assert [shape[1:] for shape in shapes.values()] == [(56, 56), (28, 28), (14, 14), (7, 7)]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("test_resnet", list(RESNET)),
        ("mobilenetv3_small_050", ["blocks.0", "blocks.1", "blocks.3", "blocks.5"]),
        ("test_convnext", ["stages.0", "stages.1", "stages.2", "stages.3"]),
    ],
)
def test_stages_of_timm_are_those_it_names(name: str, stages: list[str]) -> None:
    model = from_timm(name)
    assert ends(model, 64) == stages
    del model.feature_info
    assert len(ends(model, 64)) >= len(stages)


def test_transformer_to_cnn_spreads_the_blocks() -> None:
    found = matched(own("resnet20"), from_timm("test_vit", img_size=64), 64)
    assert found.stages == (("layer1", "blocks.1"), ("layer2", "blocks.3"), ("layer3", "blocks.5"))
    assert found.pooled == (("fc:input", "head:input"),)


def test_transformer_of_torchvision_to_cnn() -> None:
    from torchvision.models import VisionTransformer

    teacher = VisionTransformer(64, 16, 12, 2, 32, 64, num_classes=4)
    found = matched(from_torchvision("resnet18"), teacher, 64)
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in (2, 5, 8, 11)]
    assert found.stages == tuple(zip(RESNET, blocks, strict=True))
    assert probe(teacher, torch.zeros(1, 3, 64, 64), blocks) == dict.fromkeys(blocks, (32, 4, 4))


def test_two_transformers_give_four_pairs() -> None:
    student, teacher = from_timm("test_vit", img_size=64), from_timm("test_vit", img_size=64, depth=12)
    found = matched(student, teacher, 64)
    assert found.stages == tuple((f"blocks.{a}", f"blocks.{b}") for a, b in [(0, 2), (2, 5), (3, 8), (5, 11)])


@pytest.mark.parametrize("inplace", [False, True])
def test_a_users_chain_ends_its_stages_before_the_pooling(inplace: bool) -> None:
    model = chain(
        conv(1, 4), nn.ReLU(inplace), nn.MaxPool2d(2), conv(4, 8), nn.ReLU(inplace), nn.MaxPool2d(2), conv(8, 8)
    )
    assert ends(model, 16, channels=1) == ["1", "4", "6"]
    found = matched(model, model, 16, channels=1)
    assert found.preact[0] == (("1:input", "1:input") if inplace else ("0", "0"))
    assert not found.activated
    taps = [layer for pair in (*found.stages, *found.preact) for layer in pair]
    assert probe(model, torch.zeros(1, 1, 16, 16), taps)


@pytest.mark.parametrize("inplace", [False, True])
def test_layers_inside_a_residual_block_end_no_stage(inplace: bool) -> None:
    model = Wrapped(inplace=inplace)
    found = find_stages(model, torch.zeros(1, 1, 16, 16))
    assert [end.layer for end in found.ends] == ["backbone.one", "backbone.two"]
    assert [end.preact for end in found.ends] == ["backbone.one.act:input", "backbone.two.act:input"]
    flow = record(model, torch.zeros(1, 1, 16, 16))
    assert flow.is_cut(flow.calls["backbone.stem"])
    assert not flow.is_cut(flow.calls["backbone.one.body.1"])
    assert not flow.is_cut(flow.calls["backbone.one.shortcut"])


def test_output_that_is_overwritten_ends_no_stage() -> None:
    model = chain(conv(1, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    image = torch.zeros(1, 1, 8, 8)
    flow = record(model, image)
    assert not flow.calls["1"].usable
    assert flow.calls["2"].usable
    assert ends(model, 8, channels=1) == ["2"]


def test_activation_shows_its_input() -> None:
    student = chain(conv(1, 8), nn.ReLU())
    found = matched(student, chain(conv(1, 8, 2), nn.ReLU(inplace=True)), 8, channels=1)
    assert found.stages == (("1", "1"),)
    assert found.preact == (("0", "1:input"),)


def test_networks_without_maps_still_have_heads() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    found = matched(flat, small_network(), 8, channels=1)
    assert found.stages == found.middle == found.last == found.preact == found.final == ()
    assert found.pooled == (("3:input", "fc:input"),)


def test_networks_without_heads_have_none() -> None:
    assert matched(nn.Flatten(), nn.Flatten(), 8, channels=1).pooled == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: own("resnet8"),
        lambda: from_torchvision("mobilenet_v3_small"),
        lambda: from_timm("test_vit", img_size=64),
    ],
)
def test_matching_is_repeatable_and_leaves_the_models_alone(make: Callable[[], nn.Module]) -> None:
    student, teacher = make().train(), make().train()
    next(student.children()).eval()
    before = [state(model) for model in (student, teacher)]
    flags = [part.training for model in (student, teacher) for part in model.modules()]
    random = torch.get_rng_state()
    assert matched(student, teacher, 64) == matched(student, teacher, 64)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(same_state(model, kept) for model, kept in zip((student, teacher), before, strict=True))
    assert [part.training for model in (student, teacher) for part in model.modules()] == flags
    for part in (*student.modules(), *teacher.modules()):
        assert not part._forward_hooks
        assert not part._forward_pre_hooks


def test_hooks_go_when_the_model_fails() -> None:
    model = small_network()
    with pytest.raises(RuntimeError):
        matched(model, model, 4, channels=2)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_every_chosen_layer_can_be_tapped() -> None:
    image = torch.rand(2, 3, 64, 64)
    student, teacher = from_torchvision("mobilenet_v3_small"), from_timm("test_vit", img_size=64)
    found = match_layers(student, teacher, image)
    for model, side in ((student, 0), (teacher, 1)):
        taps = [pair[side] for pairs in found for pair in pairs]
        shapes = probe(model, image, taps)
        features = Tapped(model.eval(), taps)(image).features
        assert {tap: tuple(feature.shape[1:]) for tap, feature in features.items()} == shapes


def test_the_longer_network_leaves_out_what_fits_least() -> None:
    short = chain(conv(1, 4, 2), nn.ReLU(), conv(4, 8, 2), nn.ReLU(), conv(8, 8, 2), nn.ReLU())
    long = chain(conv(1, 4), nn.ReLU(), *(layer for _ in range(4) for layer in (conv(4, 4, 2), nn.ReLU())), conv(4, 8))
    # 8, 4, 2 to 16, 8, 4, 2, 1: deepest with deepest, the others where sizes differ least.
    assert matched(short, long, 16, channels=1).stages == (("1", "3"), ("3", "5"), ("5", "10"))
    assert matched(long, short, 16, channels=1).stages == (("3", "1"), ("5", "3"), ("10", "5"))


def test_explanation_names_shapes_adapters_and_reasons() -> None:
    image = torch.zeros(1, 1, 8, 8)
    student, teacher = own("cnn-xs", channels=1), own("cnn-m", channels=1)
    first, deepest, heads = explain(match_layers(student, teacher, image), student, teacher, image)
    assert first == ("layer1", "layer1", (48, 8, 8), (32, 8, 8), "Conv2d 1x1", 48 * 32 + 32 + 64, "same size")
    assert deepest.adapter == "Conv2d 3x3"
    assert deepest.num_parameters == 48 * 128 * 9 + 128 + 256
    assert deepest.reason == "deepest, nearest size"
    assert heads == ("fc:input", "fc:input", (48,), (128,), "Linear", 49 * 128, "what the heads read")
    same = explain(match_layers(student, student, image), student, student, image)
    assert [(row.adapter, row.num_parameters) for row in same] == [("none", 0)] * 3


def test_explanation_of_a_map_for_a_vector_says_so() -> None:
    student, teacher = nn.Sequential(conv(1, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), small_network()
    image = torch.zeros(1, 1, 8, 8)
    row = explain(match_layers(student, teacher, image), student, teacher, image)[-1]
    assert row.adapter == "impossible"
