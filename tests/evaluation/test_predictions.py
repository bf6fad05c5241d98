from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.evaluation.predictions import Predictions, collect_predictions
from understudy.types import Batch

IMAGES, LABELS = torch.randn(23, 1, 4, 4), torch.arange(23) % 5


def batches(*parts: torch.Tensor) -> list[Batch]:
    return [Batch(IMAGES[part], LABELS[part], part, torch.full_like(part, -1)) for part in parts]


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5))


def test_every_module_gets_its_own_mode_back(model: nn.Sequential) -> None:
    model.train()
    model[0].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    collect_predictions(model, batches(torch.arange(23)))
    assert [module.training for module in model] == [False, True, True, True]
    assert model.training
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_modes_come_back_after_an_error(model: nn.Sequential) -> None:
    def broken() -> list[Batch]:
        yield from batches(torch.arange(3))
        raise OSError("damaged image")

    with pytest.raises(OSError, match="damaged"):
        collect_predictions(model, broken())
    assert all(module.training for module in model.modules())


def test_rows_are_in_the_order_of_the_split_whatever_the_batches(model: nn.Sequential) -> None:
    shuffled = torch.randperm(23).split(6)
    whole = collect_predictions(model, batches(torch.arange(23)))
    uneven = collect_predictions(model, batches(*shuffled))
    torch.testing.assert_close(uneven, whole)
    assert torch.equal(uneven.labels, LABELS)
    with torch.no_grad():
        torch.testing.assert_close(whole.logits, model.eval()(IMAGES))
    assert not whole.logits.requires_grad


def test_file_round_trip(tmp_path: Path) -> None:
    predictions = Predictions(torch.randn(5, 3).t().contiguous().t(), torch.arange(5))
    predictions.save(tmp_path / "logits.safetensors")
    loaded = Predictions.load(tmp_path / "logits.safetensors")
    assert torch.equal(loaded.logits, predictions.logits)
    assert torch.equal(loaded.labels, predictions.labels)


def test_an_empty_split_is_refused(model: nn.Sequential) -> None:
    with pytest.raises(ValueError, match="without images"):
        collect_predictions(model, [])
