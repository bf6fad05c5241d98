"""`understudy distill`, from its settings to its run directory."""

import tempfile
from pathlib import Path

from benchmarks.peers.work import Work
from benchmarks.textbook import LR, MOMENTUM, TEMPERATURE, WEIGHT_DECAY
from understudy.experiments.assemble import Given
from understudy.experiments.run import run
from understudy.experiments.settings import resolve

PACKAGE = "understudy"


def train(work: Work) -> None:
    """One epoch; `work.settings` come last, so they win."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = {
            "data": "object:benchmark",
            "data.augment": "crop-flip" if work.augment else "none",
            "teacher": "object:teacher",
            # With random weights the teacher is no better than guessing.
            "teacher.allow_untrained": "true",
            "student": "object:student",
            "method": "kd",
            "method.temperature": str(TEMPERATURE),
            "train.epochs": "1",
            "train.batch_size": str(work.batch),
            "train.optimizer": "sgd",
            "train.optimizer.lr": str(LR),
            "train.optimizer.momentum": str(MOMENTUM),
            "train.optimizer.weight_decay": str(WEIGHT_DECAY),
            "train.schedule": "constant",
            "out": str(Path(folder) / "run"),
        }
        given = [tuple(setting.split("=", 1)) for setting in work.settings]
        settings = resolve("distill", [], [*chosen.items(), *given])
        run(settings, given=Given(work.data, work.teacher, work.student), say=lambda line: None)
