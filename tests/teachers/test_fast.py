"""A quicker teacher says the same."""

import pytest
import torch
from torch import Tensor, nn
from toys import random_batch, small_network

from understudy import create_model
from understudy.teachers import Teacher
from understudy.teachers.fast import quicken

CLASSES = tuple("abcdefghij")


def trained(model: nn.Module) -> nn.Module:
    """With BatchNorm statistics of its own, as after training."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def pixels(count: int = 4, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def num_batchnorms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    "name", ["resnet20", "resnet8x4", "vgg8", "mobilenetv2", "shufflenetv2", "torchvision:resnet18"]
)
@torch.no_grad()
def test_all_batchnorm_is_folded(name: str) -> None:
    model = trained(create_model(name, classes=CLASSES))
    image = pixels()
    fast = quicken(model, image)
    assert num_batchnorms(model) > 0
    assert num_batchnorms(fast) == 0
    torch.testing.assert_close(fast(image), model(image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_reads_another_output_stays() -> None:
    """In a network that normalises first, only a BatchNorm behind a convolution can be folded."""
    model = trained(create_model("wrn-16-1", classes=CLASSES))
    fast = quicken(model, pixels())
    assert 0 < num_batchnorms(fast) < num_batchnorms(model)
    torch.testing.assert_close(fast(pixels()), model(pixels()), rtol=1e-4, atol=1e-4)


class Fork(nn.Module):
    """The output of the convolution is used in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> Tensor:
        map_ = self.conv(image)
        return (map_ + self.bn(map_)).mean((2, 3))


@torch.no_grad()
def test_a_fork_is_left_alone() -> None:
    model = trained(Fork())
    image = random_batch().image
    fast = quicken(model, image)
    assert num_batchnorms(fast) == 1
    torch.testing.assert_close(fast(image), model(image))


@torch.no_grad()
def test_shared_layers_are_left_alone() -> None:
    conv, bn = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
    model = trained(nn.Sequential(nn.Conv2d(1, 2, 3), conv, bn, conv, bn, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert num_batchnorms(quicken(model, random_batch().image)) == 1


@torch.no_grad()
def test_half_precision_is_close_and_the_model_untouched() -> None:
    model = trained(create_model("resnet20", classes=CLASSES))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast = quicken(model, pixels(), precision=torch.bfloat16)
    assert next(fast.parameters()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        found = fast(pixels()).float()
    expected = model(pixels())
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 5, 8, 11])
def test_in_chunks_an_answer_does_not_depend_on_the_batch(precision: torch.dtype, count: int) -> None:
    teacher = Teacher(small_network(), taps=["pool"], precision=precision, chunk=8)
    batch = random_batch(16)
    whole = teacher(batch)
    assert len(whole.logits) == 16
    rows = torch.randperm(16, generator=torch.Generator().manual_seed(count))[:count]
    part = teacher(batch.rows(rows))
    assert torch.equal(part.logits, whole.logits[rows])
    assert torch.equal(part.features["pool"], whole.features["pool"][rows])


def test_chunks_on_real_networks_are_exact() -> None:
    model = quicken(trained(create_model("resnet20", classes=CLASSES)), pixels())
    teacher = Teacher(model, chunk=4)
    image = pixels(10)
    index = torch.arange(10)
    from toys import batch_of

    whole = teacher(batch_of(image)).logits
    for row in index:
        assert torch.equal(teacher(batch_of(image[row : row + 1])).logits[0], whole[row])
