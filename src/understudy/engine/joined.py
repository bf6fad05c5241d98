"""Several optimizers, each with parameters and a schedule of its own, as one of each: the loop steps them as one."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class JoinedOptimizer(Optimizer):
    """Optimizers that step together.

    Args:
        parts: No two of them share a parameter; what they are told afterwards, such as a learning rate, holds.

    Raises:
        ValueError: Two of them do.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of each.

        Args:
            closure: There is none: each would evaluate the loss again.
        """
        assert closure is None
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of each."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # Loading gives each of them new groups.
        self.param_groups = self._groups()


class JoinedSchedule(LRScheduler):
    """Schedules that step together.

    Args:
        parts: One for each part of a `JoinedOptimizer`, by what its learning rate is called in the log.
    """

    def __init__(self, parts: Mapping[str, LRScheduler]) -> None:
        # Not the constructor of the base class, which would begin a schedule of its own.
        self.names = list(parts)
        self.parts = list(parts.values())

    def step(self, epoch: int | None = None) -> None:
        """One step of each.

        Args:
            epoch: Has no meaning here.
        """
        for part in self.parts:
            part.step()

    def get_last_lr(self) -> list[Any]:
        """Learning rates of all groups, part by part."""
        return [rate for part in self.parts for rate in part.get_last_lr()]

    def rates(self) -> dict[str, float]:
        """The learning rate of the first group of each part, by its name."""
        return {name: float(part.get_last_lr()[0]) for name, part in zip(self.names, self.parts, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """The state of each."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
