import os
from pathlib import Path
from typing import Any

import pytest
import torch
from child_processes import run_pair
from small_training import Batches, Kept, make_trainer, network, stop_at

from understudy.engine.distributed import World, gather_rows, join, leave, sum_over_processes, wait
from understudy.engine.interrupt import Interrupted
from understudy.evaluation.predictions import collect_predictions

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}


def weights_after(epochs: int, num: int, world: World, **chosen: Any) -> dict[str, torch.Tensor]:
    """Without dropout, whose masks depend on the share of the batch."""
    student = network(dropout=0)
    loader = Batches(num, world=world)
    make_trainer(student=student, loader=loader, world=world, epochs=epochs, schedule="constant", **chosen).fit()
    return student.state_dict()


def train_part(out: Path, epochs: int, num: int, chosen: dict[str, Any]) -> None:
    world = join()
    torch.save(weights_after(epochs, num, world, **chosen), out / f"{world.rank}.pt")
    leave()


@pytest.mark.parametrize(
    ("epochs", "num", "chosen", "tolerance"),
    [
        # One step of rate 0.1 without momentum: a tenth of the gradient.
        (1, 8, {"optimizer": SGD}, 1e-7),
        (2, 40, {"optimizer": SGD, "ema": 0.9}, 1e-4),
        (1, 8, {"optimizer": SGD, "accumulate": 2}, None),
    ],
    ids=["gradient", "training", "accumulate"],
)
def test_two_processes_train_as_one(
    tmp_path: Path, epochs: int, num: int, chosen: dict[str, Any], tolerance: float | None
) -> None:
    run_pair(train_part, tmp_path, epochs, num, chosen)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    if tolerance is not None:
        torch.testing.assert_close(first, weights_after(epochs, num, World(), **chosen), rtol=0, atol=tolerance)


def evaluate_part(out: Path) -> None:
    world = join()
    loader = Batches()
    shares = [loader.at(index) for index in torch.arange(37).split(5)[world.rank :: 2]]
    found = collect_predictions(network().eval(), shares, gather=gather_rows)
    assert sum_over_processes(torch.tensor([1.0, float(world.rank)])).tolist() == [2, 1]
    wait()
    torch.save(found._asdict(), out / f"{world.rank}.pt")
    leave()


def test_two_processes_evaluate_every_image_once_and_in_order(tmp_path: Path) -> None:
    run_pair(evaluate_part, tmp_path)
    loader = Batches()
    whole = network().eval()(loader.image[:37])
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found["logits"], whole.detach())
        assert torch.equal(found["labels"], loader.label[:37])


def write_part(out: Path) -> None:
    world = join()
    keeper = Kept(out / f"rank-{world.rank}.pt")
    metrics = out / f"rank-{world.rank}.jsonl"
    make_trainer(loader=Batches(world=world), world=world, keeper=keeper, metrics=metrics).fit()
    leave()


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    run_pair(write_part, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["rank-0.jsonl", "rank-0.pt"]


def stop_part(out: Path) -> None:
    world = join()
    keeper = Kept()
    loader = Batches(world=world, before=stop_at(3) if world.rank == 1 else lambda step: None)
    trainer = make_trainer(loader=loader, world=world, keeper=keeper)
    with pytest.raises(Interrupted):
        trainer.fit()
    (out / f"{world.rank}").write_text(f"{trainer.step} {len(keeper.checkpoints)}")
    leave()


def test_two_processes_stop_together_at_the_next_logged_step(tmp_path: Path) -> None:
    run_pair(stop_part, tmp_path)
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["4 1", "4 0"]


def test_alone_there_is_nothing_to_join() -> None:
    assert join() == World()
    assert World().first
    leave()
    wait()
