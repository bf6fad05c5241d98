"""Loops that take turns, each in a process of its own, so that a noisy machine disturbs all of them alike."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.timing import cpu_seconds, peak_mb

# Where the system can fork, from one process that has imported everything: a process starts in a moment.
METHODS = multiprocessing.get_all_start_methods()
START = multiprocessing.get_context("forkserver" if "forkserver" in METHODS else "spawn")
START.set_forkserver_preload(["benchmarks.speed", "torch._dynamo"])


class Spent(NamedTuple):
    """What a turn took: CPU and wall seconds, and the process's peak memory so far in MB."""

    cpu: float
    wall: float
    peak_mb: float


class Floor:
    """What a loop asks before each of its steps whether it is its turn; it may wait here for long.

    Args:
        pipe: To who gives the floor.
    """

    def __init__(self, pipe: Any) -> None:
        self.finish: Callable[[], object] = lambda: None
        """Waits for what the device still works on."""
        self._pipe = pipe
        self._left = 0
        self._start: tuple[float, float] | None = None

    def ask(self) -> None:
        """Go on with the next step when it is this loop's turn.

        Raises:
            EOFError: Nobody gives the floor any more.
        """
        if not self._left:
            if self._start is not None:
                self.finish()
                cpu, wall = self._start
                self._pipe.send(Spent(cpu_seconds() - cpu, time.perf_counter() - wall, peak_mb()))
            self._left = self._pipe.recv()
            self._start = cpu_seconds(), time.perf_counter()
        self._left -= 1


Loop = Callable[[Floor], object]
"""Makes steps for as long as it gets the floor."""


class Turns:
    """Gives one loop at a time the floor; the others wait without working.

    Args:
        steps: Steps of one turn.
    """

    def __init__(self, steps: int = 1) -> None:
        self.steps = steps
        self.spent: dict[str, list[Spent]] = {}
        self._loops: dict[str, Any] = {}

    def add(self, name: str, make: Callable[..., Loop], *arguments: object) -> Spent:
        """A loop in a process of its own.

        Args:
            name: What to call it.
            make: Prepares it; a function of a module, so that it can be sent.
            arguments: For `make`.

        Returns:
            What its first turn took, in which things are compiled; it does not count.
        """
        ours, theirs = START.Pipe()
        START.Process(target=_serve, args=(theirs, make, arguments)).start()
        theirs.close()
        self._loops[name], self.spent[name] = ours, []
        return self._turn(name)

    def run(self, rounds: int) -> None:
        """`rounds` turns of each loop; what is kept are seconds for a step."""
        for _ in range(rounds):
            for name, spent in self.spent.items():
                turn = self._turn(name)
                spent.append(turn._replace(cpu=turn.cpu / self.steps, wall=turn.wall / self.steps))
        for loop in self._loops.values():
            loop.close()

    def _turn(self, name: str) -> Spent:
        self._loops[name].send(self.steps)
        return self._loops[name].recv()


def _serve(pipe: Any, make: Callable[..., Loop], arguments: tuple[object, ...]) -> None:
    loop = make(*arguments)
    try:
        loop(Floor(pipe))
    except EOFError:
        return


class Held:
    """A loader that asks for the floor before each batch: making one counts as part of the step that uses it.

    Args:
        loader: Where its batches come from.
        floor: Whom to ask.
    """

    def __init__(self, loader: Any, floor: Floor) -> None:
        self.loader = loader
        self.floor = floor

    def __len__(self) -> int:
        return len(self.loader)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The loader's batches."""
        batches = iter(self.loader.batches(epoch, start))
        for _ in range(len(self.loader) - start):
            self.floor.ask()
            yield next(batches)
