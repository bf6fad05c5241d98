"""Loops that take turns step by step in one process, so that a noisy machine disturbs all of them alike."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.timing import cpu_seconds

Step = Callable[[], object]


class Turns:
    """Gives one loop at a time the floor.

    A loop that can only be run as a whole, such as a trainer's, runs in a thread of its own and is held between two
    steps, where it asks for its next batch.

    Args:
        warm: Turns of each loop that do not count.
        steps: Steps of one turn.
        wait: Waits for what a turn has begun, on a GPU.
    """

    def __init__(self, warm: int = 3, *, steps: int = 1, wait: Step = lambda: None) -> None:
        self.warm = warm
        self.steps = steps
        self.wait = wait
        self.cpu: dict[str, list[float]] = {}
        self.wall: dict[str, list[float]] = {}
        self._steps: dict[str, Step] = {}

    def add(self, name: str, step: Step) -> None:
        """A loop as a function that makes one step."""
        self._steps[name] = step
        self.cpu[name], self.wall[name] = [], []

    def add_whole(self, name: str, loader: Any, fit: Callable[["Held"], object]) -> None:
        """A loop that takes batches from a loader until there are none.

        Args:
            name: What to call it.
            loader: Where its batches come from.
            fit: Runs the loop on the held loader.
        """
        held = Held(loader)
        thread = threading.Thread(target=held.run, args=(fit,), daemon=True)
        thread.start()
        self.add(name, held.step)

    def run(self, rounds: int) -> None:
        """`rounds` turns of each loop after the warm ones; what is kept are seconds for a step."""
        for number in range(self.warm + rounds):
            for name in self._steps:
                cpu, wall = self.turn(name)
                if number >= self.warm:
                    self.cpu[name].append(cpu / self.steps)
                    self.wall[name].append(wall / self.steps)

    def turn(self, name: str) -> tuple[float, float]:
        """One turn of one loop: its CPU and its wall seconds."""
        cpu, wall = cpu_seconds(), time.perf_counter()
        for _ in range(self.steps):
            self._steps[name]()
        self.wait()
        return cpu_seconds() - cpu, time.perf_counter() - wall


class Held:
    """A loader that hands out a batch only when it is its turn; what follows up to the next batch is one step."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._failed: BaseException | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The loader's batches; making one counts as part of the step that uses it."""
        batches = iter(self.loader.batches(epoch, start))
        while True:
            self._go.acquire()
            try:
                batch = next(batches)
            except StopIteration:
                # The end of an epoch belongs to the first step of the next.
                self._go.release()
                return
            yield batch
            self._done.release()

    def step(self) -> None:
        """Let the loop make one step and wait for it."""
        self._go.release()
        self._done.acquire()
        if self._failed is not None:
            raise self._failed

    def run(self, fit: Callable[["Held"], object]) -> None:
        """Run the loop, in a thread; a failure is handed to who waits."""
        try:
            fit(self)
        except BaseException as error:
            self._failed = error
            self._done.release()
