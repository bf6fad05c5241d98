import pytest
import torch
from torch import Tensor

from understudy.distiller import Step
from understudy.engine.meter import Meter
from understudy.types import Batch, Outputs, Term

CPU = torch.device("cpu")


def batch_and_step(size: int, *, labelled: bool = True) -> tuple[Batch, Step]:
    logits, label = torch.randn(size, 4), torch.randint(4, (size,))
    raw = torch.rand(())
    terms = {"kd": Term(raw, raw * 0.5)}
    batch = Batch(torch.zeros(size, 1, 2, 2), label if labelled else None, torch.arange(size), torch.zeros(size))
    return batch, Step(raw * 0.5, terms, Outputs(logits, {}))


@pytest.fixture
def seen() -> list[tuple[Batch, Step]]:
    torch.manual_seed(0)
    return [batch_and_step(size) for size in (8, 8, 3)]


def hits(seen: list[tuple[Batch, Step]]) -> Tensor:
    return torch.cat([step.outputs.logits.argmax(1) == batch.label for batch, step in seen])


def mean_raw(seen: list[tuple[Batch, Step]]) -> float:
    sizes = [len(batch.image) for batch, _ in seen]
    return sum(size * step.terms["kd"].raw.item() for size, (_, step) in zip(sizes, seen, strict=True)) / sum(sizes)


def test_means_are_over_images_also_with_a_short_last_batch(seen: list[tuple[Batch, Step]]) -> None:
    meter = Meter(CPU)
    for batch, step in seen:
        meter.add(step, batch)
    means = meter.epoch()
    assert means["accuracy"] == pytest.approx(hits(seen).double().mean().item())
    assert means["kd.raw"] == pytest.approx(mean_raw(seen))
    assert means["kd.weighted"] == pytest.approx(mean_raw(seen) / 2)
    assert means["loss"] == pytest.approx(mean_raw(seen) / 2)


def test_marks_divide_an_epoch(seen: list[tuple[Batch, Step]]) -> None:
    meter = Meter(CPU)
    meter.add(seen[0][1], seen[0][0])
    assert meter.since_mark()["kd.raw"] == pytest.approx(mean_raw(seen[:1]))
    for batch, step in seen[1:]:
        meter.add(step, batch)
    assert meter.since_mark()["kd.raw"] == pytest.approx(mean_raw(seen[1:]))


def test_state_goes_on_in_the_middle_of_an_epoch(seen: list[tuple[Batch, Step]]) -> None:
    straight, first, second = Meter(CPU), Meter(CPU), Meter(CPU)
    for number, (batch, step) in enumerate(seen):
        straight.add(step, batch)
        if number == 1:
            straight.since_mark()
            first.since_mark()
            second.load_state_dict(first.state_dict())
        (first if number == 0 else second).add(step, batch)
        if number == 0:
            second.load_state_dict(first.state_dict())
    assert second.epoch() == straight.epoch()


def test_reset_forgets(seen: list[tuple[Batch, Step]]) -> None:
    meter = Meter(CPU)
    meter.add(seen[0][1], seen[0][0])
    meter.reset()
    assert meter.epoch() == {}
    meter.add(seen[1][1], seen[1][0])
    assert meter.epoch()["kd.raw"] == pytest.approx(mean_raw(seen[1:2]))


def test_unlabelled_images_have_no_accuracy() -> None:
    meter = Meter(CPU)
    batch, step = batch_and_step(4, labelled=False)
    meter.add(step, batch)
    assert set(meter.epoch()) == {"loss", "kd.raw", "kd.weighted"}
