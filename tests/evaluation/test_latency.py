import pytest
import torch
from torch import Tensor, nn
from toys import small_network

from understudy.evaluation import latency
from understudy.evaluation.latency import measure_latency
from understudy.evaluation.memory import peak_memory


def test_each_batch_is_timed_and_the_mode_comes_back() -> None:
    model = small_network().train()
    found = measure_latency(model, torch.rand(1, 1, 8, 8), seconds=0.02)
    assert [each.batch for each in found] == [1, 8, 32]
    assert all(0 < each.p50_ms <= each.p95_ms for each in found)
    assert all(module.training for module in model.modules())


def test_percentiles_are_of_the_passes_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def timed(model: nn.Module, image: Tensor) -> float:
        seen.append(len(image))
        return 0.001 * seen.count(len(image))

    monkeypatch.setattr(latency, "timed", timed)
    one = measure_latency(small_network(), torch.rand(1, 1, 8, 8), seconds=0.1)[0]
    # Warm-up: 1 + 2 + 3 + 4 ms make a tenth of the time; then 5, 6, ... up to 100 ms in all.
    assert seen.count(1) - 4 == one.passes == 11
    assert one.p50_ms == pytest.approx(10)
    assert one.p95_ms == pytest.approx(14.5)


def test_a_slow_model_is_timed_a_few_times_and_a_quick_one_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, passes in ((100.0, latency.LEAST), (0.0, latency.MOST)):
        monkeypatch.setattr(latency, "timed", lambda model, image, seconds=seconds: seconds)
        assert {each.passes for each in measure_latency(small_network(), torch.rand(1, 1, 8, 8))} == {passes}


class Stack(nn.Module):
    """Allocates what it is told, one after the other, keeping some."""

    def __init__(self, sizes: list[int], *, keep: bool) -> None:
        super().__init__()
        self.sizes, self.keep = sizes, keep
        self.weight = nn.Parameter(torch.zeros(1000))

    def forward(self, image: Tensor) -> int:
        kept: list[Tensor] = []
        for size in self.sizes:
            kept = [*kept, torch.empty(size)] if self.keep else [torch.empty(size)]
        return sum(map(len, kept))


@pytest.mark.parametrize(
    ("keep", "expected"),
    # A new one is there before the old one goes: 5000 and 3000 together, or all.
    [(False, 8000), (True, 10000)],
)
def test_peak_memory_counts_what_is_there_at_once(keep: bool, expected: int) -> None:
    model = Stack([2000, 5000, 3000], keep=keep)
    assert peak_memory(model, torch.zeros(1, 1, 10, 10)) == 4 * (1000 + 100 + expected)


def test_peak_memory_of_a_network_holds_its_largest_layer() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), nn.Conv2d(8, 2, 1, bias=False), nn.Flatten())
    found = peak_memory(model, torch.rand(1, 1, 64, 64))
    weights, image, wide, narrow = 8 + 16, 64 * 64, 8 * 64 * 64, 2 * 64 * 64
    assert found == 4 * (weights + image + wide + narrow)


def test_views_and_what_is_done_in_place_take_no_memory_and_a_gone_tensor_gives_it_back() -> None:
    class Views(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            doubled = image * 2
            doubled.flatten().add_(1).view(10, 10).t()
            first = doubled + 1
            del doubled
            return first + 1

    assert peak_memory(Views(), torch.zeros(1, 1, 10, 10)) == 4 * (100 + 2 * 100)


def test_a_gpu_counts_as_well() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    model = nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), nn.ReLU()).cuda()
    found = peak_memory(model, torch.rand(1, 1, 64, 64, device="cuda"))
    assert found >= 4 * (8 + 64 * 64 + 2 * 8 * 64 * 64)
