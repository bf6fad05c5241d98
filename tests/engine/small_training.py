"""A training of a few seconds with everything in it: BatchNorm, dropout, a teacher, shuffled batches."""

import io
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from understudy.distiller import Distiller
from understudy.engine import Trainer, TrainSettings
from understudy.engine.checkpoint import State, save_checkpoint
from understudy.engine.distributed import World
from understudy.engine.loggers import JsonLines, Logger
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES, Span
from understudy.methods.kd import KD
from understudy.teachers import Teacher
from understudy.types import Batch

CPU = torch.device("cpu")
NUM_CLASSES = 3


def network(seed: int = 0, *, batchnorm: bool = True, dropout: float = 0.2) -> nn.Sequential:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(4) if batchnorm else nn.Identity()
    head = nn.Linear(4 * 36, NUM_CLASSES)
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), head)


class Batches:
    """Random images whose label depends on them, in another order in each epoch.

    Args:
        num: Images.
        batch_size: Images of a batch, over all processes.
        world: Which share of a batch this process gets.
        before: Called with the number of steps done before each batch is handed out.
    """

    def __init__(
        self,
        num: int = 40,
        *,
        batch_size: int = 8,
        world: World | None = None,
        before: Callable[[int], object] = lambda step: None,
    ) -> None:
        generator = torch.Generator().manual_seed(7)
        self.image = torch.rand(num, 1, 8, 8, generator=generator)
        self.label = (self.image[:, 0].mean((1, 2)) * 997).long() % NUM_CLASSES
        self.batch_size = batch_size
        self.world = world or World()
        self.before = before

    def __len__(self) -> int:
        return len(self.image) // self.batch_size

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        order = torch.randperm(len(self.image), generator=torch.Generator().manual_seed(epoch))
        for number, whole in list(enumerate(order.split(self.batch_size)))[start : len(self)]:
            self.before(epoch * len(self) + number)
            yield self.at(whole.tensor_split(self.world.size)[self.world.rank])

    def at(self, index: Tensor) -> Batch:
        return Batch(self.image[index], self.label[index], index, torch.zeros_like(index))

    def scores(self, student: nn.Module) -> dict[str, float]:
        training = student.training
        student.eval()
        with torch.no_grad():
            logits = student(self.image)
        student.train(training)
        hits = (logits.argmax(1) == self.label).double().mean()
        return {"accuracy": hits.item(), "nll": cross_entropy(logits, self.label).item()}


class Kept:
    """Remembers what the trainer wants kept; the checkpoint as bytes, since tensors go on changing.

    Args:
        path: Where checkpoints go as well.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.checkpoints: list[bytes] = []
        self.num_best = 0

    def save(self, state: State) -> None:
        content = io.BytesIO()
        torch.save(state, content)
        self.checkpoints.append(content.getvalue())
        if self.path is not None:
            save_checkpoint(self.path, state)

    def save_best(self, student: nn.Module) -> None:
        self.num_best += 1

    def last(self) -> State:
        return torch.load(io.BytesIO(self.checkpoints[-1]), weights_only=True)


def make_trainer(
    *,
    student: nn.Module | None = None,
    loader: Batches | None = None,
    keeper: Kept | None = None,
    metrics: Path | None = None,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    distilled: bool = True,
    world: World | None = None,
    optimizer: Mapping[str, Any] | None = None,
    schedule: str = "onecycle",
    **settings: Any,
) -> Trainer:
    loader = loader or Batches()
    student = student or network()
    chosen = TrainSettings(**{"epochs": 2, "batch_size": 8, "log_steps": 2, "precision": "fp32", **settings})
    distiller = Distiller(student, [KD(temperature=2.0, weight=0.5)] if distilled else [])
    named = {"name": "adamw", "lr": 1e-2, **(optimizer or {})}
    made = OPTIMIZERS.get(named.pop("name"))(distiller.parameters(), **named)
    torch.manual_seed(1)
    return Trainer(
        distiller,
        Teacher(network(5)) if distilled else None,
        loader=loader,
        optimizer=made,
        schedule=SCHEDULES.get(schedule)(made, Span(chosen.epochs, len(loader), chosen.warmup_epochs)),
        settings=chosen,
        validate=validate or loader.scores,
        keeper=keeper or Kept(),
        loggers=lambda step: _loggers(metrics, step),
        device=CPU,
        world=world or World(),
        title="small",
    )


def _loggers(metrics: Path | None, step: int) -> list[Logger]:
    return [] if metrics is None else [JsonLines(metrics, step=step)]


def stop_at(step: int) -> Callable[[int], None]:
    """Press Ctrl-C during a step (counted from 1)."""
    return lambda done: signal.raise_signal(signal.SIGINT) if done + 1 == step else None
