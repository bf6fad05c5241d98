import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from understudy.losses.label_smoothing import smoothed_cross_entropy
from understudy.losses.logit import kd_loss

GOLDEN = torch.tensor([[1, 2, 3], [0, 0, 0]], dtype=torch.float64)
LABELS = torch.tensor([2, 0])


def random_logits(*, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(7, 5, generator=generator, dtype=torch.float64)


def test_without_smoothing_it_is_the_golden_cross_entropy() -> None:
    assert smoothed_cross_entropy(GOLDEN, LABELS, 0.0).item() == pytest.approx(0.7531091265562, abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_it_is_torchs(smoothing: float) -> None:
    labels = torch.arange(7) % 5
    expected = cross_entropy(random_logits(), labels, label_smoothing=smoothing)
    for share in (smoothing, torch.tensor(smoothing, dtype=torch.float64)):
        assert torch.allclose(smoothed_cross_entropy(random_logits(), labels, share), expected, atol=1e-12)


def test_its_gradient_is_that_of_distillation_from_a_teacher_to_whom_all_is_alike() -> None:
    labels = torch.arange(7) % 5
    logits = [random_logits().requires_grad_() for _ in range(2)]
    smoothed_cross_entropy(logits[0], labels, 0.1).backward()
    even = torch.zeros(7, 5, dtype=torch.float64)
    (0.9 * cross_entropy(logits[1], labels) + 0.1 * kd_loss(logits[1], even, 1.0)).backward()
    first, second = (tensor.grad for tensor in logits)
    assert first is not None
    assert second is not None
    assert torch.allclose(first, second, atol=1e-12)


def test_its_smallest_value_is_the_entropy_of_the_labels() -> None:
    target = torch.tensor([[0.92, 0.02, 0.02, 0.02, 0.02]], dtype=torch.float64)
    entropy = -(target * target.log()).sum().item()
    assert smoothed_cross_entropy(target.log(), torch.tensor([0])).item() == pytest.approx(entropy, abs=1e-12)
    assert smoothed_cross_entropy(20 * target.log(), torch.tensor([0])).item() > entropy + 0.1


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=f"smoothing must be between 0 and 1, got {smoothing}"):
        smoothed_cross_entropy(GOLDEN, LABELS, smoothing)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 3, 1)])
def test_logits_must_be_a_table(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="logits must be of shape"):
        smoothed_cross_entropy(torch.zeros(shape), torch.zeros(shape[0], dtype=torch.int64))
