import torch
from torch import nn

from understudy.classifier import Classifier, InputSpec
from understudy.evaluation.cost import count_macs, measure_cost


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10)
    )


# 8x8 positions x 4 channels x 3x3x3 weights, and 256 x 10.
MACS = 64 * 4 * 27 + 256 * 10
PARAMETERS = 4 * 27 + 4 + 4 + 256 * 10 + 10
# Running mean and variance, and one int64 counter.
BYTES = 4 * (PARAMETERS + 8) + 8


def test_cost_of_a_hand_computed_network() -> None:
    cost = measure_cost(small_net(), torch.rand(1, 3, 8, 8), seconds=0.01)
    assert (cost.parameters, cost.macs, cost.bytes) == (PARAMETERS, MACS, BYTES)
    assert 0 < cost.latency_ms < 1000


def test_preprocessing_of_a_classifier_is_no_parameter() -> None:
    model = Classifier(small_net(), spec=InputSpec(size=(8, 8)), classes=list("0123456789"))
    cost = measure_cost(model, torch.zeros(1, 3, 8, 8, dtype=torch.uint8), seconds=0.01)
    assert (cost.parameters, cost.macs, cost.bytes) == (PARAMETERS, MACS, BYTES)


def test_the_model_is_left_as_it_was() -> None:
    model = small_net().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    measure_cost(model, torch.rand(1, 3, 8, 8), seconds=0.01)
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_attention_counts_without_gradients_too() -> None:
    """In eval mode torch may run it as one operation, which its counter does not know."""
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens = torch.rand(1, 4, 8)
    with torch.no_grad():
        found = count_macs(block, tokens)
    # Queries, keys, values and what they become, then the two linear layers, then scores and mixtures.
    assert found == 4 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 4 * 4 * 8
