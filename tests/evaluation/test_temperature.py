import numpy as np
import pytest
import torch
from reference import teachers as reference

from understudy.evaluation.predictions import Predictions
from understudy.evaluation.temperature import HIGHEST, LOWEST, fit_temperature


def sampled(temperature: float, num: int = 400) -> Predictions:
    """Labels drawn from the softened probabilities of random logits."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(num, 4, generator=generator) * 4
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator).squeeze(1)
    return Predictions(logits, labels)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fit_is_the_minimum_and_near_the_truth(temperature: float) -> None:
    seen = sampled(temperature)
    fitted = fit_temperature(seen)
    assert fitted == pytest.approx(temperature, rel=0.25)
    logits, labels = seen.logits.double().numpy(), seen.labels.tolist()
    best = reference.likelihood_cost(logits, labels, fitted)
    for other in np.geomspace(LOWEST * 2, HIGHEST, 25):
        assert best <= reference.likelihood_cost(logits, labels, float(other)) + 1e-12
    assert best < reference.likelihood_cost(logits, labels, fitted * 1.01)
    assert best < reference.likelihood_cost(logits, labels, fitted / 1.01)


def test_scaled_logits_scale_the_temperature() -> None:
    seen = sampled(1.0)
    assert fit_temperature(seen._replace(logits=seen.logits * 2)) == pytest.approx(2 * fit_temperature(seen), rel=1e-4)


def test_certain_and_ignorant_models_stay_within_bounds() -> None:
    logits = torch.eye(3) * 5
    # Where every image is right the cost is flat at 0 towards the lower bound.
    assert LOWEST <= fit_temperature(Predictions(logits, torch.arange(3))) < 0.2
    assert fit_temperature(Predictions(logits, torch.tensor([1, 2, 0]))) == pytest.approx(HIGHEST, rel=1e-3)
