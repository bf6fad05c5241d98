"""A progress bar with speed, time left and the loss; silent when nobody watches."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingBar:
    """Shows the steps of a training, in a terminal or a notebook; elsewhere it prints nothing.

    Args:
        title: What is trained.
        total: Optimizer steps of the whole training.
        done: Steps done before, after a resume.
        show: False keeps it silent, in all processes but the first.
    """

    def __init__(self, title: str, *, total: int, done: int = 0, show: bool = True) -> None:
        console = Console(stderr=True)
        self._shown = show and (console.is_terminal or console.is_jupyter)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}"),
            console=console,
            transient=True,
            disable=not self._shown,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, speed="", terms="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One step is done."""
        if self._shown:
            self._bar.advance(self._task)

    def show(self, terms: Mapping[str, float], speed: float) -> None:
        """Show new values: numbers by name, and images per second."""
        if self._shown:
            text = " ".join(f"{name} {value:.3g}" for name, value in terms.items())
            self._bar.update(self._task, terms=text, speed=f"{speed:,.0f} images/s")


class CountingBar:
    """Shows how many images are through, in a terminal or a notebook; elsewhere it prints nothing.

    Args:
        title: What is done with them.
        show: False keeps it silent, in all processes but the first.
    """

    def __init__(self, title: str, *, show: bool = True) -> None:
        self._title = title
        self._shown = show
        self._bar: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` images are through."""
        if self._bar is None:
            console = Console(stderr=True)
            shown = self._shown and (console.is_terminal or console.is_jupyter)
            self._bar = Progress(console=console, transient=True, disable=not shown)
            self._bar.add_task(self._title, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done)
        if done == total:
            self._bar.stop()
