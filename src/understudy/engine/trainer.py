"""The training loop."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from understudy.cohort import CohortStep
from understudy.distiller import Step, Unit
from understudy.engine.checkpoint import State, random_state, restore_random_state
from understudy.engine.device import choose_precision, compile_module
from understudy.engine.distributed import World, distribute, share_buffers
from understudy.engine.interrupt import Interrupted, StopSignal
from understudy.engine.joined import JoinedSchedule
from understudy.engine.loggers import Logger
from understudy.engine.meter import Meter
from understudy.engine.progress import TrainingBar
from understudy.engine.settings import TrainSettings
from understudy.engine.sync_batchnorm import synchronize_batchnorm
from understudy.errors import UserError
from understudy.methods.base import Method
from understudy.types import Batch, Outputs

Scores = Mapping[str, float]


class BatchSource(Protocol):
    """What the trainer needs of a loader."""

    def __len__(self) -> int:
        """Batches of one epoch."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Any:
        """The batches of an epoch from step `start` on, on the device."""
        ...


class Keeper(Protocol):
    """Where checkpoints and the best student go."""

    def save(self, state: State) -> None:
        """Write everything needed to go on."""
        ...

    def save_best(self, student: nn.Module) -> None:
        """Write the student that did best on the validation split."""
        ...


class Trainer:
    """Trains a `Distiller` on the targets of a teacher; without one it is plain training.

    Args:
        distiller: Student and methods, on the device; or another `Unit`.
        teacher: Source of targets, on the device, at its own precision; None in plain training.
        loader: Training batches, the same for equal seeds.
        optimizer: Of the distiller's parameters.
        schedule: Learning rates; stepped after each optimizer step.
        settings: Everything else.
        validate: The student in eval mode -> scores; `accuracy` selects the best epoch, `nll` breaks ties. None in
            a stage whose loss says nothing about accuracy.
        keeper: Where checkpoints go.
        loggers: Where numbers go.
        device: Where to compute.
        world: The processes that train together.
        title: What the progress bar says.
        first_step: Optimizer steps of earlier stages, which the log counts on from.
        idle: Modules that stay in eval mode, each by itself: its children only if they are listed as well.
        monitor: The distiller -> losses on the validation split, for the log alone; None for none.
    """

    def __init__(
        self,
        distiller: Unit,
        teacher: Callable[[Batch], Outputs] | None,
        *,
        loader: BatchSource,
        optimizer: Optimizer,
        schedule: LRScheduler,
        settings: TrainSettings,
        validate: Callable[[nn.Module], Scores] | None,
        keeper: Keeper,
        loggers: Callable[[int], list[Logger]],
        device: torch.device,
        world: World,
        title: str,
        first_step: int = 0,
        idle: Sequence[nn.Module] = (),
        monitor: Callable[[Any], Scores] | None = None,
    ) -> None:
        if world.size > 1 and settings.sync_batchnorm:
            twice = any(isinstance(method, Method) and not method.compiles for method in distiller.modules())
            synchronize_batchnorm(distiller, twice=twice)
        if settings.channels_last:
            distiller.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if settings.compile:
            compile_module(distiller, device)
        self.distiller = distiller
        self.teacher = teacher
        self.loader = loader
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings
        self.validate = validate
        self.keeper = keeper
        self.loggers = loggers
        self.device = device
        self.world = world
        self.title = title
        self.first_step = first_step
        self.idle = idle
        self.monitor = monitor
        self.precision = choose_precision(settings.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.average = self._new_average()
        self.model = distribute(distiller, world, device)
        self.meter = Meter(device)
        self.step = 0
        self.best: dict[str, float] = {}

    def fit(self, resume: State | None = None) -> dict[str, float]:
        """Train to the end.

        Args:
            resume: A checkpoint's state to go on from.

        Returns:
            The scores of the best epoch, with its number as `epoch`.

        Raises:
            Interrupted: Ctrl-C or SIGTERM came; the state is saved.
        """
        if resume is not None:
            self.load_state_dict(resume)
        with ExitStack() as stack:
            self._stop = stack.enter_context(StopSignal(self.world, self.device))
            total = self.settings.epochs * len(self.loader)
            bar = TrainingBar(self.title, total=total, done=self.step, show=self.world.first)
            self._bar = stack.enter_context(bar)
            self._loggers = self.loggers(self.first_step + self.step) if self.world.first else []
            for logger in self._loggers:
                stack.callback(logger.close)
            while self.step < total:
                self._train_epoch(self.step // len(self.loader))
        return self.best

    def state_dict(self) -> State:
        """Everything needed to go on, as tensors and plain types."""
        return {
            "distiller": self.distiller.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "meter": self.meter.state_dict(),
            "step": self.step,
            "best": dict(self.best),
            "random": random_state(),
        }

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        self.distiller.load_state_dict(state["distiller"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.meter.load_state_dict(state["meter"])
        self.step = state["step"]
        self.best = dict(state["best"])
        if self.world.first:
            # The others go on from fresh states: the checkpoint holds the first one's.
            restore_random_state(state["random"])

    def _train_epoch(self, epoch: int) -> None:
        self.model.train()
        for module in self.idle:
            module.training = False
        self._clock, self._images, self._saved = time.monotonic(), 0, time.monotonic()
        for batch in self.loader.batches(epoch, self.step % len(self.loader)):
            self.distiller.set_epoch(self.step / len(self.loader), self.settings.epochs)
            self._train_step(batch)
            self.step += 1
            self._bar.advance()
            self._images += len(batch.image) * self.world.size
            due = self.step % self.settings.log_steps == 0
            if due:
                self._log_step(epoch)
            if self.step % len(self.loader):
                self._maybe_save(together=due)
        self._end_epoch(epoch)
        self._stop_if_asked(together=True)

    def _train_step(self, batch: Batch) -> None:
        for step, part in self._backward(batch):
            self.meter.add(step, part)
        self._update()

    def _backward(self, batch: Batch) -> Iterator[tuple[Step | CohortStep, Batch]]:
        """Add up the gradients of a batch, part by part."""
        parts = _parts(batch, self.settings.accumulate)
        for part in parts:
            with nullcontext() if part is parts[-1] else self._no_sync():
                if self.settings.compile:
                    # What CUDA graphs of the part before gave may be written over from here on.
                    torch.compiler.cudagraph_mark_step_begin()
                targets = self.teacher(part) if self.teacher else None
                with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                    step = cast("Step | CohortStep", self.model(part, targets))
                self.scaler.scale(step.loss * (len(part.image) / len(batch.image))).backward()
            yield step, part

    def _update(self) -> None:
        self._step_optimizer(self.optimizer, self.distiller)
        self.scaler.update()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.distiller)

    def _step_optimizer(self, optimizer: Optimizer, trained: nn.Module) -> None:
        if self.settings.clip is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(trained.parameters(), self.settings.clip)
        self.scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)

    def _new_average(self) -> AveragedModel | None:
        if self.settings.ema is None:
            return None
        # With the buffers: averaged weights need averaged BatchNorm statistics.
        return AveragedModel(self.distiller, multi_avg_fn=self._move_average, use_buffers=True)

    def _move_average(self, average: Any, present: Any, num_averaged: Any) -> None:
        assert self.settings.ema is not None
        # Early on the average follows faster, or the first weights would stay in it for long.
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(average, present, num_averaged)

    def _no_sync(self) -> Any:
        return self.model.no_sync() if isinstance(self.model, nn.parallel.DistributedDataParallel) else nullcontext()

    def _log_step(self, epoch: int) -> None:
        means = self.meter.since_mark()
        now = time.monotonic()
        speed = self._images / (now - self._clock)
        self._clock, self._images = now, 0
        _check_finite(means, self.step)
        rates = self._rates()
        self._log({"kind": "step", "epoch": epoch, **_prefixed("train", means), **rates, "images_per_second": speed})
        self._bar.show({name.removesuffix(".weighted"): means[name] for name in means if "raw" not in name}, speed)

    def _rates(self) -> dict[str, float]:
        if isinstance(self.schedule, JoinedSchedule):
            return self.schedule.rates()
        return {"lr": float(self.schedule.get_last_lr()[0])}

    def _end_epoch(self, epoch: int) -> None:
        means = self.meter.epoch()
        self.meter.reset()
        _check_finite(means, self.step)
        last = epoch + 1 == self.settings.epochs
        scores: Scores = {}
        if last or (epoch + 1) % self.settings.validate_epochs == 0:
            scores = self._measure(epoch)
        self._log({"kind": "epoch", "epoch": epoch, **_prefixed("train", means), **_prefixed("val", scores)})
        self._save()

    def _measure(self, epoch: int) -> Scores:
        candidate = cast("Unit", self.average.module) if self.average else self.distiller
        share_buffers(candidate)
        scores: Scores = self.monitor(candidate) if self.monitor else {}
        if self.validate:
            scores = {**scores, **self.validate(candidate.deploy())}
            self._keep_best(epoch, scores, candidate)
        return scores

    def _keep_best(self, epoch: int, scores: Scores, candidate: Unit) -> None:
        if not self.best or rank(scores) > rank(self.best):
            self.best = {"epoch": float(epoch), **scores}
            if self.world.first:
                self.keeper.save_best(candidate.deploy())

    def _maybe_save(self, *, together: bool) -> None:
        """Inside an epoch: save when asked to stop, or when the last time is long ago."""
        self._stop_if_asked(together=together)
        if time.monotonic() - self._saved > 60 * self.settings.save_minutes:
            self._save()

    def _stop_if_asked(self, *, together: bool) -> None:
        if self._stop.seen(together=together):
            self._save()
            raise Interrupted

    def _save(self) -> None:
        if self.world.first:
            self.keeper.save(self.state_dict())
        self._saved = time.monotonic()

    def _log(self, record: Mapping[str, Any]) -> None:
        for logger in self._loggers:
            logger.log({"step": self.first_step + self.step, "stage": self.distiller.stage.name, **record})


def _parts(batch: Batch, count: int) -> list[Batch]:
    if count == 1:
        return [batch]
    labelled = len(batch.image) if batch.label is None else len(batch.label)
    rows = torch.arange(len(batch.image))
    known = rows[:labelled].chunk(count)
    # Every part has its share of the unlabelled images, behind the labelled ones.
    unknown = rows[labelled:].tensor_split(len(known))
    return [batch.rows(torch.cat(pair)) for pair in zip(known, unknown, strict=True)]


def rank(scores: Scores) -> tuple[float, float]:
    """What selects the best epoch: accuracy, ties by likelihood; where there are early exits, the means over all."""
    return scores.get("exits.accuracy", scores["accuracy"]), -scores.get("exits.nll", scores["nll"])


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _check_finite(means: Mapping[str, float], step: int) -> None:
    for name, value in means.items():
        if not -float("inf") < value < float("inf"):
            raise UserError(f"'{name}' is {value} at step {step}: lower train.optimizer.lr or set train.clip=1")
