"""VGG with BatchNorm and one linear layer, for 32x32 images (Simonyan and Zisserman, ICLR 2015).

The sizes are those of the distillation literature (Tian et al., ICLR 2020): five stages, halved after the first three.
"""

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn

from understudy.models.base import register_model
from understudy.models.layers import global_average, initialise

STAGES: dict[str, tuple[tuple[int, ...], ...]] = {
    "vgg8": ((64,), (128,), (256,), (512,), (512,)),
    "vgg11": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "vgg13": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
}


class CifarVGG(nn.Module):
    """Five stages of 3x3 convolutions `layer1` to `layer5`, and `fc`.

    Max-pooling opens stages 2 to 4, so that the output of a stage is what it computed at its full size.

    Args:
        stages: Channels of the convolutions of each of the five stages.
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """

    def __init__(self, stages: tuple[tuple[int, ...], ...], *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer1 = _stage(in_channels, stages[0], pool=False)
        self.layer2 = _stage(stages[0][-1], stages[1], pool=True)
        self.layer3 = _stage(stages[1][-1], stages[2], pool=True)
        self.layer4 = _stage(stages[2][-1], stages[3], pool=True)
        self.layer5 = _stage(stages[3][-1], stages[4], pool=False)
        self.fc = nn.Linear(stages[4][-1], num_classes)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> logits (batch, num_classes)."""
        features = self.layer3(self.layer2(self.layer1(image)))
        return self.fc(global_average(self.layer5(self.layer4(features))))


def _stage(in_channels: int, widths: tuple[int, ...], *, pool: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.MaxPool2d(2)) if pool else OrderedDict()
    for i, (before, width) in enumerate(pairwise((in_channels, *widths)), start=1):
        layers[f"conv{i}"] = nn.Conv2d(before, width, 3, padding=1)
        layers[f"bn{i}"] = nn.BatchNorm2d(width)
        layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def _register(name: str) -> None:
    def build(*, num_classes: int, in_channels: int = 3) -> nn.Module:
        return CifarVGG(STAGES[name], num_classes=num_classes, in_channels=in_channels)

    num_convs = sum(map(len, STAGES[name]))
    build.__doc__ = f"VGG of {num_convs} convolutions and one linear layer, for 32x32 (Simonyan and Zisserman, 2015)."
    register_model(name, default_size=32)(build)


for _name in STAGES:
    _register(_name)
