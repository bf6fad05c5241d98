from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import understudy
from understudy.data import load_data
from understudy.errors import UserError
from understudy.models import load_model, load_weights

QUICK = {"train.epochs": 1, "device": "cpu"}


class OwnNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(image.flatten(1))


def own_datasets() -> tuple[TensorDataset, TensorDataset]:
    digits = load_data("digits")
    train, test = (TensorDataset(split.pixels.float() / 255, split.labels) for split in (digits.train, digits.test))
    return train, test


def test_names(teacher_run: Path, tmp_path: Path) -> None:
    settings = {**QUICK, "method.temperature": 2}
    result = understudy.distill("digits", str(teacher_run), student="cnn-xs", out=tmp_path / "kd", settings=settings)
    assert result["method"] == ["kd"]
    assert load_model(tmp_path / "kd").name == "cnn-xs"


def test_own_networks_and_datasets(teacher_run: Path, tmp_path: Path) -> None:
    student = OwnNet()
    before = student.fc.weight.detach().clone()
    teacher = load_model(teacher_run)
    settings = {**QUICK, "train.epochs": 5, "train.optimizer.lr": 0.05, "data.augment": "none"}
    result = understudy.distill(
        own_datasets(), teacher, student=student, method="logit-mse", out=tmp_path / "own", seed=1, settings=settings
    )
    assert result["test"]["accuracy"] > 0.5
    assert result["teacher"]["test"]["accuracy"] > 0.5
    assert not torch.equal(student.fc.weight, before)
    again = OwnNet()
    load_weights(again, tmp_path / "own" / "student.safetensors")
    assert torch.equal(again.fc.weight, student.fc.weight)
    with pytest.raises(UserError, match="built in Python"):
        load_model(tmp_path / "own")


def test_an_untrained_network_is_refused_as_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(UserError, match="no better than guessing"):
        understudy.distill(own_datasets(), OwnNet(), student="cnn-xs", out=tmp_path / "kd", settings=QUICK)


def test_unknown_names_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown method 'kdd'"):
        understudy.distill("digits", "cnn-s", student="cnn-xs", method="kdd", out=tmp_path / "kd")


def test_package_offers_what_it_lists() -> None:
    assert all(getattr(understudy, name) for name in understudy.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'distil'"):
        _ = understudy.distil
