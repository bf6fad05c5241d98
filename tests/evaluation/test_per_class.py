import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from understudy.evaluation.per_class import per_class
from understudy.evaluation.predictions import Predictions


def test_recall_and_precision_by_counting_and_by_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    found = Predictions(torch.randn(200, 5, generator=generator), torch.randint(5, (200,), generator=generator))
    called, labels = found.logits.argmax(1).tolist(), found.labels.tolist()
    precision, recall, _, images = precision_recall_fscore_support(labels, called)
    for number, score in enumerate(per_class(found)):
        hits = sum(a == b == number for a, b in zip(called, labels, strict=True))
        assert score == pytest.approx((labels.count(number), hits / labels.count(number), hits / called.count(number)))
        assert score == pytest.approx((images[number], recall[number], precision[number]))


def test_a_class_without_images_and_one_that_is_never_called_have_no_share() -> None:
    found = per_class(Predictions(torch.eye(3)[[0, 0, 1]], torch.tensor([0, 2, 2])))
    assert found == [(1, 1.0, 0.5), (0, None, 0.0), (2, 0.0, None)]
