"""A plain CNN of five layers for 224x224 images: three convolutions and two hidden linear layers."""

from collections import OrderedDict

from torch import Tensor, nn

from understudy.models.base import register_model


class FiveLayerCNN(nn.Module):
    """Three convolutional stages, two hidden linear layers, `fc3`.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(in_channels, 64, 5), relu=nn.ReLU(), pool=nn.MaxPool2d(2)),
        )
        self.layer2 = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(64, 128, 3, stride=2),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),
                bn=nn.BatchNorm2d(128),
                dropout=nn.Dropout(0.2),
            )
        )
        self.layer3 = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(128, 264, 3, stride=2),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),
                bn=nn.BatchNorm2d(264),
            )
        )
        # The identity for 224x224; other sizes are brought to the 6x6 that `fc1` expects.
        self.resize = nn.AdaptiveAvgPool2d(6)
        self.fc1 = nn.Linear(264 * 6 * 6, 512)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(512, 64)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(0.25)
        self.fc3 = nn.Linear(64, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in_channels, height, width), at least 52x52 -> logits (batch, num_classes)."""
        features = self.resize(self.layer3(self.layer2(self.layer1(image)))).flatten(1)
        hidden = self.relu2(self.fc2(self.relu1(self.fc1(features))))
        return self.fc3(self.dropout(hidden))


@register_model("cnn5", default_size=224)
def cnn5(*, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Plain CNN of five layers for 224x224; 5,283,938 parameters for ten classes.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """
    return FiveLayerCNN(num_classes=num_classes, in_channels=in_channels)
