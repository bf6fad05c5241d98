"""The training of a run, stage by stage, with its checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from understudy.classifier import Classifier
from understudy.distiller import Distiller
from understudy.engine.checkpoint import State, save_checkpoint
from understudy.engine.interrupt import Interrupted
from understudy.engine.loggers import LOGGERS, JsonLines, Logger
from understudy.engine.meter import Meter
from understudy.engine.trainer import Trainer
from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assembly import Assembly, as_user_error
from understudy.experiments.caching import TargetSource, check_cache, make_source, say_asked
from understudy.experiments.optimization import make_optimization
from understudy.experiments.validation import validation_scores
from understudy.methods.base import Method, Stage
from understudy.models import save_model
from understudy.reach import gradient_norms, gradient_shares, reached_parameters, training_only_reached
from understudy.record import RunDirectory
from understudy.taps import evaluating
from understudy.types import Outputs

# A term with less of the gradient norm is as good as absent; with more than the rest of it, all others are.
SMALL_SHARE = 0.01


@dataclass(frozen=True)
class _Keeper:
    """Puts checkpoints and the best student into the run directory."""

    directory: RunDirectory
    stage: int

    def save(self, state: State) -> None:
        save_checkpoint(self.directory.last, {**state, "stage": self.stage})

    def save_best(self, student: nn.Module) -> None:
        assert isinstance(student, Classifier)
        save_model(student, self.directory.best)


class Training:
    """Trains an assembly through its stages; most methods have one.

    Args:
        made: What is trained, with what.
        directory: Where checkpoints and logs go.
        say: Takes each line that the user should read.
        taught: What the teacher says about the validation split; None without one, or where nothing is trained.
    """

    def __init__(
        self, made: Assembly, directory: RunDirectory, say: Callable[[str], None], *, taught: Predictions | None = None
    ) -> None:
        self.made = made
        self.taught = taught
        self.directory = directory
        self.say = say
        self.loader = made.train_loader()
        self.sample = made.sample()
        self.targets: Outputs | None = made.teacher(self.sample) if made.teacher else None
        self.source: TargetSource | None = None
        self.shares: dict[str, dict[str, float]] = {}
        self.epochs = made.epochs()

    def prepare(self) -> None:
        """Find mistakes before anything is written: each stage's terms must reach the student.

        Each term's share of the gradient norm is said and kept in `shares`, by stage.

        Raises:
            UserError: A term does not, or optimizer or schedule cannot be made.
        """
        check_cache(self.made, self.targets)
        for stage in self.made.distiller.stages():
            self.made.distiller.begin(stage)
            with as_user_error("method"):
                norms = gradient_norms(self.made.distiller, self.sample, self.targets)
            if not any(norms.values()) and not self._weights_move():
                raise UserError("every loss term has weight 0 or is 0: nothing would train; set label.weight=1")
            self.shares[stage.name] = gradient_shares(norms)
            whose = "" if stage.name == "train" else f" of stage {stage.name}"
            say_shares(self.shares[stage.name], self.say, whose=whose)
        make_optimization(self.made, len(self.loader))

    def _weights_move(self) -> bool:
        return any(isinstance(method, Method) and method.ramps for method in self.made.distiller.methods)

    def run(self, resume: State | None) -> dict[str, float]:
        """Train all stages, or go on from a checkpoint.

        Returns:
            The scores of the best epoch of the last stage, with its number as `epoch`.

        Raises:
            Interrupted: Ctrl-C or SIGTERM came; the state is saved.
        """
        self.source = make_source(self.made, self.loader, self.targets, self.say)
        stages = self.made.distiller.stages()
        at = resume["stage"] if resume else 0
        done = sum(self.epochs[stage.name] for stage in stages[:at]) * len(self.loader)
        best: dict[str, float] = {}
        for number, stage in enumerate(stages[at:], start=at):
            best = self._stage(number, stage, done, resume)
            done += self.epochs[stage.name] * len(self.loader)
            resume = None
        say_asked(self.source, self.say)
        return best

    def _stage(self, number: int, stage: Stage, first_step: int, resume: State | None) -> dict[str, float]:
        distiller = self.made.distiller
        pretrained = self._trained_before(number) if stage.lr_scale != 1 else []
        distiller.begin(stage)
        if stage.name != "train":
            self.say(f"stage {stage.name}: {self.epochs[stage.name]} epochs")
        with training_only_reached(distiller, self.sample, self.targets) as idle:
            trainer = self._trainer(number, stage, first_step, idle=idle, pretrained=pretrained)
            total = trainer.settings.epochs * len(self.loader)
            if resume is not None:
                self.say(f"going on at step {resume['step']} of {total}")
            try:
                return trainer.fit(resume)
            except Interrupted:
                place = f"stopped at step {trainer.step} of {total}"
                self.say(f"{place}; everything is in {self.directory.path}: the same command goes on from there")
                raise

    def _trained_before(self, number: int) -> list[nn.Parameter]:
        """What the stages before this one train; found anew, so that a resumed run knows it as well."""
        distiller = self.made.distiller
        found: dict[nn.Parameter, None] = {}
        for stage in distiller.stages()[:number]:
            distiller.begin(stage)
            found.update(dict.fromkeys(reached_parameters(distiller, self.sample, self.targets)))
        return list(found)

    def _trainer(
        self, number: int, stage: Stage, first_step: int, *, idle: list[nn.Module], pretrained: list[nn.Parameter]
    ) -> Trainer:
        made = self.made
        settings = made.settings.train.model_copy(update={"epochs": self.epochs[stage.name]})
        moved = make_optimization(
            made, len(self.loader), epochs=settings.epochs, pretrained=pretrained, lr_scale=stage.lr_scale
        )
        last = number + 1 == len(made.distiller.stages())
        return Trainer(
            made.distiller,
            self.source,
            loader=self.loader,
            optimizer=moved.optimizer,
            schedule=moved.schedule,
            settings=settings,
            validate=self._validate if last or stage.labels else None,
            keeper=_Keeper(self.directory, number),
            loggers=lambda step: make_loggers(made.settings.loggers, self.directory, step),
            device=made.device,
            world=made.world,
            title=self.directory.path.name if stage.name == "train" else f"{self.directory.path.name} {stage.name}",
            first_step=first_step,
            idle=idle,
            monitor=None if last or stage.labels else self._monitor,
        )

    def _validate(self, student: nn.Module) -> dict[str, float]:
        return validation_scores(self.made, student, self.taught)

    def _monitor(self, distiller: Distiller) -> dict[str, float]:
        """The stage's own loss and terms on the validation split, averaged over its images."""
        meter, teacher = Meter(self.made.device), self.made.teacher
        with evaluating(distiller), torch.no_grad():
            for batch in self.made.batches("val"):
                # Without labels: what the head says before it is trained is no accuracy.
                meter.add(distiller(batch, teacher(batch) if teacher else None), batch._replace(label=None))
        return meter.epoch()


def make_loggers(names: Sequence[str], directory: RunDirectory, step: int) -> list[Logger]:
    """The lines in the run directory and the loggers that were asked for.

    Args:
        names: As in the settings.
        directory: Where they write.
        step: Optimizer steps done; what was logged after them is dropped.
    """
    chosen: list[Any] = [LOGGERS.get(name)(directory.path, step=step) for name in names]
    return [JsonLines(directory.metrics, step=step), *chosen]


def say_shares(shares: Mapping[str, float], say: Callable[[str], None], *, whose: str = "") -> None:
    """Say what each term contributes to the gradient, with a warning where that is next to nothing or all.

    Args:
        shares: Part of the gradient norm by term; nothing is said about terms without any, or about one alone.
        say: Takes each line.
        whose: Of which stage or student they are, as it stands behind "gradient norm".
    """
    shares = {term: share for term, share in shares.items() if share > 0}
    if len(shares) < 2:
        return
    say(f"shares of the gradient norm{whose}: {', '.join(f'{t} {s:.1%}' for t, s in shares.items())}")
    for term, share in shares.items():
        if not SMALL_SHARE <= share <= 1 - SMALL_SHARE:
            effect = "hardly counts" if share < SMALL_SHARE else "drowns all others"
            say(f"warning: the term {term} {effect} with {share:.2%} of the gradient norm: mind the weights")
