"""Set-ups on the digits with a teacher that takes no training: logistic regression on the pixels."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from understudy.classifier import Classifier, InputSpec
from understudy.data import ImageData, PixelSplit, load_data
from understudy.doctor.case import Case
from understudy.doctor.finding import Finding
from understudy.doctor.probe import PROBES
from understudy.experiments.assemble import Given
from understudy.experiments.settings import resolve

STRENGTH = 0.05


@cache
def digits() -> ImageData:
    return load_data("digits")


def pixels_of(data: ImageData, split: str) -> PixelSplit:
    part = getattr(data, split)
    assert isinstance(part, PixelSplit)
    return part


def own_spec(data: ImageData) -> InputSpec:
    return InputSpec(None, data.channels, data.mean, data.std)


def logistic(data: ImageData | None = None, spec: InputSpec | None = None) -> Classifier:
    """Right on about 97 % of the validation digits; it has learnt with the normalisation of the data."""
    data = data or digits()
    train, own = pixels_of(data, "train"), own_spec(data)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (own.mean, own.std))
    seen = ((train.pixels / 255 - mean) / std).flatten(1)
    found = LogisticRegression(C=STRENGTH, max_iter=1000).fit(seen.numpy(), train.labels.numpy())
    linear = nn.Linear(seen.shape[1], len(data.classes))
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(found.coef_))
        linear.bias.copy_(torch.from_numpy(found.intercept_))
    return Classifier(nn.Sequential(nn.Flatten(), linear), spec=spec or own, classes=data.classes)


def small_student(data: ImageData | None = None) -> Classifier:
    """Smaller than the teacher."""
    data = data or digits()
    torch.manual_seed(0)
    layers = OrderedDict(
        pool=nn.AvgPool2d(2), flatten=nn.Flatten(), fc=nn.Linear(data.channels * 16, len(data.classes))
    )
    return Classifier(nn.Sequential(layers), spec=own_spec(data), classes=data.classes)


def ending_with(model: Classifier, last: nn.Module) -> Classifier:
    """The same network with one more layer."""
    return Classifier(nn.Sequential(model.network, last), spec=model.spec, classes=model.classes)


class Function(nn.Module):
    """A layer without parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, value: Tensor) -> Tensor:
        return self.function(value)


def with_training(data: ImageData, labels: Tensor | None = None, pixels: Tensor | None = None) -> ImageData:
    """Other training images or labels."""
    train = pixels_of(data, "train")
    labels = train.labels if labels is None else labels
    return replace(data, train=PixelSplit(train.pixels if pixels is None else pixels, labels))


def case_of(
    *,
    teacher: nn.Module | None = None,
    student: nn.Module | None = None,
    data: ImageData | None = None,
    images: int = 2000,
    settings: dict[str, Any] | None = None,
) -> Case:
    """A case on the digits, healthy unless told otherwise."""
    common = {"data": "digits", "teacher": "object:teacher", "student": "object:student", "device": "cpu"}
    given = Given(data=data or digits(), teacher=teacher or logistic(), student=student or small_student())
    return Case(resolve("distill", [], list({**common, **(settings or {})}.items())), given=given, images=images)


def findings(name: str, case: Case) -> list[Finding]:
    return list(PROBES.get(name)(case))
