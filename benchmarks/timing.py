"""CPU time with that of worker processes, marginal cost, and medians with their range."""

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# Imports, first allocations and the libraries' choice of kernels happen in the first steps.
WARM_STEPS = 2


class Marginal(NamedTuple):
    """What one more step costs, in seconds."""

    cpu: float
    wall: float


def cpu_seconds() -> float:
    """CPU time of this process and its children, alive or finished (Linux for those alive)."""
    finished = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = sum(_cpu_of(child.pid) for child in multiprocessing.active_children() if child.pid)
    return time.process_time() + finished.ru_utime + finished.ru_stime + alive


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def marginal(prepare: Callable[[int], Callable[[], object]], few: int, many: int) -> Marginal:
    """The cost of a run of `many` steps minus one of `few`, per step, so that preparing and evaluating do not count.

    Args:
        prepare: Number of steps -> a function that runs them; what `prepare` itself does is not timed.
        few: Steps of the shorter run.
        many: Steps of the longer run.
    """
    assert 0 < few < many
    prepare(WARM_STEPS)()
    spent = []
    for steps in (few, many):
        train = prepare(steps)
        cpu, wall = cpu_seconds(), time.perf_counter()
        train()
        spent.append((cpu_seconds() - cpu, time.perf_counter() - wall))
    (short_cpu, short_wall), (long_cpu, long_wall) = spent
    return Marginal((long_cpu - short_cpu) / (many - few), (long_wall - short_wall) / (many - few))


def in_turn(loops: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each loop's turns in this process, after one turn each that does not count."""
    found: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name, loop in loops.items():
            start = cpu_seconds()
            loop()
            if number:
                found[name].append(cpu_seconds() - start)
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def shown(figures: dict[str, float], digits: int = 0) -> str:
    """A summary as `median (min .. max)`."""
    median, low, high = (f"{figures[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({low} .. {high})"


def _cpu_of(process: int) -> float:
    try:
        # The name may hold blanks and brackets; user and system time are the 12th and 13th fields behind it.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
