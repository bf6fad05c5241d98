import math

import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_accuracy

from understudy.evaluation.accuracy import at_chance, negative_log_likelihood, scores, top_accuracy
from understudy.evaluation.predictions import Predictions


@pytest.fixture
def predictions() -> Predictions:
    generator = torch.Generator().manual_seed(0)
    return Predictions(torch.randn(103, 7, generator=generator), torch.randint(7, (103,), generator=generator))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_accuracy_equals_brute_force_and_torchmetrics(predictions: Predictions, k: int) -> None:
    rows = zip(predictions.logits.tolist(), predictions.labels.tolist(), strict=True)
    hits = [label in sorted(range(7), key=lambda c, row=row: -row[c])[:k] for row, label in rows]
    found = top_accuracy(predictions, k)
    assert found == pytest.approx(sum(hits) / len(hits))
    reference = multiclass_accuracy(predictions.logits, predictions.labels, 7, average="micro", top_k=k)
    assert found == pytest.approx(reference.item())
    assert found == pytest.approx(
        top_k_accuracy_score(predictions.labels.numpy(), predictions.logits.numpy(), k=k, labels=list(range(7)))
    )


def test_top_accuracy_is_whole_when_k_reaches_the_classes(predictions: Predictions) -> None:
    assert top_accuracy(predictions, 7) == top_accuracy(predictions, 50) == 1.0


def test_likelihood_equals_brute_force_and_scikit_learn(predictions: Predictions) -> None:
    probabilities = predictions.logits.double().softmax(1)
    terms = [-math.log(row[label]) for row, label in zip(probabilities.tolist(), predictions.labels, strict=True)]
    assert negative_log_likelihood(predictions) == pytest.approx(sum(terms) / len(terms))
    reference = log_loss(predictions.labels.numpy(), probabilities.numpy(), labels=list(range(7)))
    assert negative_log_likelihood(predictions) == pytest.approx(reference)


def test_top5_is_only_told_where_it_says_something(predictions: Predictions) -> None:
    always = {"accuracy", "nll", "brier", "ece", "entropy"}
    assert set(scores(predictions)) == {*always, "top5"}
    assert set(scores(Predictions(predictions.logits[:, :5], predictions.labels % 5))) == always


@pytest.mark.parametrize(
    ("accuracy", "num_classes", "num_images", "expected"),
    # Two standard errors above chance: 0.1 + 2 sqrt(0.09 / 400) = 0.13; 0.5 + 2 sqrt(0.25 / 100) = 0.6.
    [(0.129, 10, 400, True), (0.131, 10, 400, False), (0.59, 2, 100, True), (0.61, 2, 100, False), (0.0, 10, 9, True)],
)
def test_at_chance_allows_two_standard_errors(
    accuracy: float, num_classes: int, num_images: int, expected: bool
) -> None:
    assert at_chance(accuracy, num_classes, num_images) is expected
