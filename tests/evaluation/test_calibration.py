import math

import pytest
import torch
from reference import calibration as reference
from torch import Tensor

from understudy.evaluation.calibration import Bin, brier_score, calibration_error, mean_entropy, reliability
from understudy.evaluation.predictions import Predictions

# The golden case: two classes, confidence of the top class, whether it is right. A confidence under one half needs a
# third class.
CONFIDENCE = [0.95] * 4 + [0.55] * 2 + [0.35] * 2
RIGHT = [1, 1, 1, 0, 1, 0, 0, 0]


def saying(confidence: list[float], right: list[int], num_classes: int = 4) -> Predictions:
    """Logits whose top class is 0, with these confidences; the label is 0 where it is right."""
    top = torch.tensor(confidence, dtype=torch.float64)
    rest = ((1 - top) / (num_classes - 1))[:, None].expand(-1, num_classes - 1)
    return Predictions(torch.cat([top[:, None], rest], 1).log(), 1 - torch.tensor(right))


def random_predictions(num: int, num_classes: int, *, seed: int = 0, scale: float = 2.0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)
    return Predictions(logits, torch.randint(num_classes, (num,), generator=generator))


def calibrated(num: int) -> Predictions:
    """Labels drawn from what the model says."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(num, 10, generator=generator, dtype=torch.float64)
    return Predictions(logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0])


def test_golden_value() -> None:
    assert calibration_error(saying(CONFIDENCE, RIGHT)) == pytest.approx(0.2, abs=1e-12)


def test_the_table_of_the_golden_case() -> None:
    filled = {k: part for k, part in enumerate(reliability(saying(CONFIDENCE, RIGHT))) if part.num_images}
    assert sorted(filled) == [5, 8, 14]
    assert filled[14] == pytest.approx(Bin(14 / 15, 1.0, 4, 0.95, 0.75))
    assert filled[8] == pytest.approx(Bin(8 / 15, 9 / 15, 2, 0.55, 0.5))
    empty = reliability(saying(CONFIDENCE, RIGHT))[0]
    assert empty[:3] == (0, 1 / 15, 0)
    assert math.isnan(empty.confidence)
    assert math.isnan(empty.accuracy)


@pytest.mark.parametrize("num_bins", [1, 2, 15, 20])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(num_bins: int) -> None:
    # Logits of 0 and one of -inf or none: exactly 1/2 and 1.
    far = float("-inf")
    logits = torch.tensor([[0.0, 0.0, far, far], [0.0, far, far, far]], dtype=torch.float64)
    found = [
        k for k, part in enumerate(reliability(Predictions(logits, torch.tensor([0, 0])), num_bins)) if part.num_images
    ]
    assert found == sorted({math.ceil(num_bins / 2) - 1, num_bins - 1})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num", "num_classes", "num_bins"), [(200, 3, 15), (57, 10, 15), (100, 2, 7), (1, 5, 15)])
def test_everything_is_what_the_reference_says(num: int, num_classes: int, num_bins: int, seed: int) -> None:
    found = random_predictions(num, num_classes, seed=seed)
    logits, labels = found.logits.numpy(), found.labels.tolist()
    error = reference.calibration_error(logits, labels, num_bins)
    assert calibration_error(found, num_bins) == pytest.approx(error, abs=1e-12)
    assert brier_score(found) == pytest.approx(reference.brier(logits, labels), rel=1e-12)
    assert mean_entropy(found) == pytest.approx(reference.entropy(logits), rel=1e-12)


def test_it_is_what_torchmetrics_says_about_a_whole_split() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    found = random_predictions(500, 10)
    expected = multiclass_calibration_error(found.logits.softmax(1), found.labels, 10, n_bins=15, norm="l1")
    assert calibration_error(found) == pytest.approx(float(expected), abs=1e-6)


def test_a_calibrated_model_has_a_small_error_on_the_whole_and_a_large_one_on_batches() -> None:
    found = calibrated(10_000)
    assert calibration_error(found) < 0.03
    batches: list[tuple[Tensor, Tensor]] = list(zip(*(column.split(128) for column in found), strict=True))
    assert sum(calibration_error(Predictions(*batch)) for batch in batches) / len(batches) > 0.05


def test_the_extremes() -> None:
    certain = torch.tensor([[100.0, 0, 0], [0, 100.0, 0]])
    right, wrong = Predictions(certain, torch.tensor([0, 1])), Predictions(certain, torch.tensor([1, 0]))
    assert (calibration_error(right), brier_score(right)) == pytest.approx((0, 0), abs=1e-12)
    assert (calibration_error(wrong), brier_score(wrong)) == pytest.approx((1, 2))
    assert mean_entropy(right) == pytest.approx(0, abs=1e-12)
    even = Predictions(torch.zeros(3, 4), torch.tensor([0, 1, 2]))
    assert mean_entropy(even) == pytest.approx(math.log(4))


def test_there_must_be_a_bin() -> None:
    with pytest.raises(ValueError, match="num_bins must be 1 or more, got 0"):
        calibration_error(calibrated(10), 0)
