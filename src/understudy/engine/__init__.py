"""The training loop and what it needs."""

from understudy.engine.settings import TrainSettings
from understudy.engine.trainer import Trainer

__all__ = ["TrainSettings", "Trainer"]
