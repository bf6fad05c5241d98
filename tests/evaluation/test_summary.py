import json

import pytest
import torch
from reference import virtual as reference

from understudy.evaluation.accuracy import scores
from understudy.evaluation.fidelity import fidelity
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.summary import all_scores, summarise
from understudy.evaluation.temperature import fit_temperature


def random_predictions(*, num_classes: int = 7, seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(150, num_classes, generator=generator)
    return Predictions(logits, torch.multinomial((logits / 3).softmax(1), 1, generator=generator)[:, 0])


def test_quick_scores_are_part_of_all() -> None:
    found = random_predictions()
    assert all_scores(found).items() >= scores(found).items()
    assert "top5" not in all_scores(random_predictions(num_classes=4))


@pytest.mark.parametrize("num_classes", [2, 7])
def test_the_divergence_from_the_virtual_teacher_equals_the_reference(num_classes: int) -> None:
    found = random_predictions(num_classes=num_classes)
    expected = reference.calibrated(found.logits.double().numpy(), found.labels.tolist(), 0.9).value
    assert all_scores(found)["virtual_kld"] == pytest.approx(expected)


def test_who_is_as_sure_as_the_virtual_teacher_has_no_divergence() -> None:
    labels = torch.arange(10)
    said = torch.full((10, 10), 0.1 / 9).fill_diagonal_(0.9)
    assert all_scores(Predictions(said.log(), labels))["virtual_kld"] == pytest.approx(0, abs=1e-6)


def test_the_record_is_plain_json_and_says_what_the_functions_say() -> None:
    student, teacher = random_predictions(), random_predictions()._replace(logits=random_predictions(seed=1).logits)
    record = summarise(student, list("abcdefg"), temperature=3.0, teacher=teacher)
    assert json.loads(json.dumps(record)) == record
    assert record["images"] == 150
    assert record["scores"] == all_scores(student)
    assert record["fidelity"] == fidelity(student, teacher)._asdict()
    assert [row["class"] for row in record["per_class"]] == list("abcdefg")
    assert sum(row["images"] for row in record["per_class"]) == 150
    assert [row["confidence"] for row in record["reliability"] if not row["images"]] == [None] * sum(
        not row["images"] for row in record["reliability"]
    )
    assert record["intervals"].keys() == record["scores"].keys() - {"ece_classwise"}


def test_temperature_changes_how_sure_and_not_what() -> None:
    """The labels were drawn at temperature 3."""
    validation, test = random_predictions(seed=1), random_predictions(seed=2)
    record = summarise(test, list("abcdefg"), temperature=fit_temperature(validation))
    before, after = record["scores"], record["temperature"]["scores"]
    assert record["temperature"]["fitted_on"] == "val"
    assert after["accuracy"] == before["accuracy"]
    assert after["top5"] == before["top5"]
    assert after["nll"] < before["nll"]
    assert after["ece"] < before["ece"]
    assert before["ece"] > record["ece_floor"]["high"]
    assert after["ece"] < record["temperature"]["ece_floor"]["high"]
    scaled = test._replace(logits=test.logits.double() / record["temperature"]["value"])
    assert after == pytest.approx(all_scores(scaled))


def test_without_teacher_and_temperature_there_is_nothing_of_them() -> None:
    record = summarise(random_predictions(), list("abcdefg"))
    assert (record["fidelity"], record["temperature"]) == (None, None)
