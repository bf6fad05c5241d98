"""Adaptive and class-wise calibration error."""

import numpy as np
import pytest
import torch
from reference import calibration as reference

from understudy.evaluation.binning import EachClass, EqualMass, EqualWidth
from understudy.evaluation.calibration import (
    adaptive_calibration_error,
    calibration_error,
    classwise_calibration_error,
    reliability,
)
from understudy.evaluation.per_image import probabilities
from understudy.evaluation.predictions import Predictions

ERRORS = [calibration_error, adaptive_calibration_error, classwise_calibration_error]


def random_predictions(num: int, num_classes: int, *, seed: int = 0, levels: int = 0) -> Predictions:
    """With `levels` the logits are whole numbers, so that many images are equally sure."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(num_classes, (num,), generator=generator)
    return Predictions(logits.round().clamp(-levels, levels) if levels else logits, labels)


@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize(("num", "num_classes", "num_bins"), [(200, 3, 15), (57, 10, 15), (100, 2, 7), (1, 5, 15)])
def test_both_are_what_the_references_say(num: int, num_classes: int, num_bins: int, levels: int) -> None:
    found = random_predictions(num, num_classes, seed=num, levels=levels)
    logits, labels = found.logits.numpy(), found.labels.tolist()
    adaptive = reference.adaptive_calibration_error(logits, labels, num_bins)
    assert adaptive_calibration_error(found, num_bins) == pytest.approx(adaptive, abs=1e-9)
    classwise = reference.classwise_calibration_error(logits, labels, num_bins)
    assert classwise_calibration_error(found, num_bins) == pytest.approx(classwise, abs=1e-9)


def test_equal_parts_by_confidence_where_the_images_can_be_divided() -> None:
    found = random_predictions(150, 4)
    said = probabilities(found).numpy()
    order = said.max(1).argsort()
    gaps = (said.argmax(1) == found.labels.numpy()) - said.max(1)
    expected = sum(abs(part.sum()) for part in np.split(gaps[order], 15)) / 150
    assert adaptive_calibration_error(found) == pytest.approx(expected)


def test_one_bin_compares_the_means() -> None:
    found = random_predictions(100, 4)
    said = probabilities(found)
    expected = abs(said.amax(1).mean() - (said.argmax(1) == found.labels).double().mean())
    assert adaptive_calibration_error(found, 1) == pytest.approx(float(expected))
    assert calibration_error(found, 1) == pytest.approx(float(expected))
    shares = torch.bincount(found.labels, minlength=4) / 100
    assert classwise_calibration_error(found, 1) == pytest.approx(float((said.mean(0) - shares).abs().mean()))


def test_classwise_is_the_binary_error_of_torchmetrics_for_each_class() -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    found = random_predictions(500, 6)
    said = found.logits.softmax(1)
    each = [
        binary_calibration_error(said[:, c].contiguous(), found.labels == c, n_bins=15, norm="l1") for c in range(6)
    ]
    assert classwise_calibration_error(found) == pytest.approx(float(torch.stack(each).mean()), abs=1e-6)


@pytest.mark.parametrize("error", ERRORS)
def test_order_of_images_and_shift_of_logits_do_not_matter(error: type) -> None:
    found = random_predictions(203, 5, levels=1)
    shuffled = torch.randperm(203, generator=torch.Generator().manual_seed(1))
    assert error(Predictions(found.logits[shuffled], found.labels[shuffled])) == pytest.approx(error(found), abs=1e-12)
    shifted = Predictions(found.logits + torch.arange(203)[:, None], found.labels)
    assert error(shifted) == pytest.approx(error(found), abs=1e-9)


@pytest.mark.parametrize("error", ERRORS)
def test_renamed_classes_change_nothing(error: type) -> None:
    found = random_predictions(203, 5)
    names = torch.tensor([3, 0, 4, 1, 2])
    renamed = Predictions(found.logits[:, names], names.argsort()[found.labels])
    assert error(renamed) == pytest.approx(error(found), abs=1e-12)


@pytest.mark.parametrize("kind", [EqualWidth, EqualMass, EachClass])
def test_counting_an_image_twice_is_having_it_twice(kind: type) -> None:
    found = random_predictions(83, 5, levels=1)
    counts = torch.randint(3, (4, 83), generator=torch.Generator().manual_seed(2))
    once = np.ones((1, 83))
    error = kind(probabilities(found).numpy())
    several = error(found.labels.numpy()[None], counts.numpy().astype(float))
    for row, value in zip(counts, several, strict=True):
        copies = Predictions(*(column.repeat_interleave(row, 0) for column in found))
        alone = kind(probabilities(copies).numpy())(copies.labels.numpy()[None], np.ones((1, len(copies.labels))))
        assert value == pytest.approx(alone[0], abs=1e-12)
    labels = torch.stack([found.labels, found.labels.roll(1)]).numpy()
    assert error(labels, once) == pytest.approx([error(row[None], once)[0] for row in labels])


@pytest.mark.parametrize("error", ERRORS)
def test_there_must_be_a_bin(error: type) -> None:
    with pytest.raises(ValueError, match="num_bins must be 1 or more, got 0"):
        error(random_predictions(10, 3), 0)


def test_certain_and_right_is_calibrated() -> None:
    found = Predictions(1000 * torch.eye(3).repeat(7, 1), torch.arange(3).repeat(7))
    assert [error(found) for error in ERRORS] == [0, 0, 0]
    assert sum(part.num_images for part in reliability(found)) == reliability(found)[-1].num_images == 21
