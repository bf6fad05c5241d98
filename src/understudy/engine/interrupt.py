"""Ctrl-C and SIGTERM end a run after the step at hand, not in its middle."""

import signal
import threading
from types import FrameType
from typing import Self

import torch

from understudy.engine.distributed import World, sum_over_processes


class Interrupted(Exception):
    """The run was asked to stop, and saved itself."""


class StopSignal:
    """Notes the first Ctrl-C or SIGTERM while it is entered; a second one ends the program at once.

    Args:
        world: The processes that must stop together.
        device: Where they can exchange a tensor.
    """

    def __init__(self, world: World, device: torch.device) -> None:
        self._world = world
        self._device = device
        self._seen = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {sig: signal.signal(sig, self._note) for sig in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for sig, handler in self._before.items():
            signal.signal(sig, handler)  # pyright: ignore[reportArgumentType]  # what signal() itself returned

    def seen(self, *, together: bool) -> bool:
        """Whether to stop now. Several processes agree on it only at steps where `together` is true for all."""
        if self._world.size == 1:
            return self._seen
        if not together:
            return False
        return bool(sum_over_processes(torch.tensor(float(self._seen), device=self._device)).item())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._seen:
            raise KeyboardInterrupt
        self._seen = True
