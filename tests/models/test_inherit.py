from collections.abc import Callable

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.models import copy_matching, create_model

Build = Callable[..., nn.Module]


def _same(student: nn.Module, teacher: nn.Module, pair: tuple[str, str]) -> bool:
    own, other = (
        network.get_submodule(path).state_dict() for network, path in zip((student, teacher), pair, strict=True)
    )
    return all(torch.equal(own[key], other[key]) for key in own)


def test_same_architecture_is_copied_as_a_whole(build: Build) -> None:
    student, teacher = build("cnn-s", seed=1), build("cnn-s")
    assert copy_matching(student, teacher) == [f"network <- network ({len(teacher.state_dict())} tensors)"]
    assert _same(student, teacher, ("", ""))


def test_shallower_student_takes_evenly_spaced_blocks(build: Build) -> None:
    student, teacher = build("resnet20", seed=1), build("resnet56")
    lines = copy_matching(student, teacher)
    assert "layer1.1 <- layer1.3 (12 tensors)" in lines
    assert "layer3.2 <- layer3.6 (12 tensors)" in lines
    assert "fc <- fc (2 tensors)" in lines
    assert _same(student, teacher, ("layer2.0", "layer2.0"))
    assert _same(student, teacher, ("layer2.2", "layer2.6"))
    assert len(lines) == 3 * 3 + 3


def test_blocks_that_do_not_fit_are_left_alone(build: Build) -> None:
    student, teacher, before = build("resnet20", seed=1), build("resnet56", num_classes=7), build("resnet20", seed=1)
    teacher.get_submodule("layer1").set_submodule("3", nn.Sequential(nn.Conv2d(16, 16, 3)))
    lines = copy_matching(student, teacher)
    assert not any(line.startswith(("layer1.1 ", "fc ")) for line in lines)
    assert _same(student, before, ("layer1.1", "layer1.1"))
    assert _same(student, before, ("fc", "fc"))


def test_layers_of_a_plain_network_match_by_name(build: Build) -> None:
    student, teacher = build("vgg8", seed=1), build("vgg13")
    assert "layer2.conv1 <- layer2.conv1 (2 tensors)" in copy_matching(student, teacher)
    assert _same(student, teacher, ("layer2.bn1", "layer2.bn1"))


def test_transformer_with_fewer_blocks() -> None:
    student, teacher = (create_model("timm:test_vit", classes=2, settings={"depth": depth}) for depth in (2, 6))
    with torch.no_grad():
        teacher.network.get_parameter("pos_embed").fill_(3)
    lines = copy_matching(student, teacher)
    assert any(line.startswith("network.blocks.1 <- network.blocks.3 (") for line in lines)
    assert "network.pos_embed <- network.pos_embed (1 tensors)" in lines
    assert torch.equal(student.network.get_parameter("pos_embed"), teacher.network.get_parameter("pos_embed"))


def test_copies_are_independent(build: Build) -> None:
    student, teacher = build("cnn-s", seed=1), build("cnn-s")
    copy_matching(student, teacher)
    with torch.no_grad():
        student.get_parameter("fc.weight").zero_()
    assert teacher.get_parameter("fc.weight").abs().sum() > 0


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(UserError, match=r"no layer of the teacher \(Linear\) fits"):
        copy_matching(nn.Linear(2, 2), nn.Linear(3, 2))
