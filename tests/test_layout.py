import pytest
import torch
from torch import Tensor, nn
from toys import random_batch

from understudy.classifier import Classifier, InputSpec
from understudy.layout import as_map
from understudy.taps import Tapped, probe


class Tokens(nn.Module):
    """Grey images -> class token and one token per 2x2 patch -> logits."""

    def __init__(self, *, num_extra: int = 1, width: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.extra = nn.Parameter(torch.zeros(num_extra, width))
        self.block = nn.Linear(width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patch(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.extra.expand(len(image), -1, -1), tokens], 1)
        return self.head(self.block(tokens)[:, 0])


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
def test_tokens_become_the_map_they_come_from(extra: int) -> None:
    image = torch.rand(2, 6, 14, 14)
    tokens = torch.cat([torch.rand(2, extra, 6), image.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(as_map(tokens), image)


@pytest.mark.parametrize(("height", "width"), [(4, 8), (8, 4), (7, 10), (3, 3), (1, 1)])
def test_sides_are_those_of_the_image(height: int, width: int) -> None:
    size = (16 * height, 16 * width)
    image = torch.rand(2, 5, height, width)
    tokens = torch.cat([torch.rand(2, 1, 5), image.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(as_map(tokens, size), image)
    assert torch.equal(as_map(image.permute(0, 2, 3, 1), size), image)
    assert torch.equal(as_map(image, size), image)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 7), (32, 32)),
        ((2, 7, 7, 7), (32, 32)),
        ((2, 16, 8, 8), (32, 32)),
        # As many channels as rows, in an image that is twice as wide as high.
        ((2, 16, 16, 32), (32, 64)),
        ((2, 3, 4, 5, 6), (32, 32)),
        ((2, 47, 8), (32, 32)),
    ],
)
def test_the_rest_stays_as_it_is(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    feature = torch.rand(shape)
    assert as_map(feature, size) is feature


def test_taps_give_maps_of_tokens_with_gradient() -> None:
    model, image = Tokens().eval(), random_batch().image
    assert probe(model, image, ["block", "patch", "head:input"]) == {
        "block": (5, 4, 4),
        "patch": (5, 4, 4),
        "head:input": (5,),
    }
    feature = Tapped(model, ["block"])(image).features["block"]
    assert torch.allclose(feature, model.block(model.patch(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    feature.square().sum().backward()
    assert model.patch.weight.grad is not None
    assert model.patch.weight.grad.abs().sum() > 0


def test_the_size_that_counts_is_the_one_the_network_sees() -> None:
    model = Classifier(Tokens(), spec=InputSpec((8, 16), 1, (0.5,), (0.5,)), classes=["a", "b", "c"])
    square = torch.rand(2, 1, 20, 20)
    assert probe(model, square, ["block"]) == {"block": (5, 4, 8)}
    assert Tapped(model, ["block"])(square).features["block"].shape == (2, 5, 4, 8)


def test_tokens_as_maps_compile_to_one_graph() -> None:
    torch.compiler.reset()
    tapped, image = Tapped(Tokens().eval(), ["block"]), random_batch().image
    found = torch.compile(tapped, backend="eager", fullgraph=True)(image).features["block"]
    assert torch.equal(found, tapped(image).features["block"])
    torch.compiler.reset()
