"""What the finished runs of a study left behind, and what went wrong with the others."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from understudy.evaluation.accuracy import at_chance
from understudy.evaluation.predictions import Predictions
from understudy.studies.planned import Planned

Scores = Mapping[str, float]


class Record(NamedTuple):
    """A finished run.

    Attributes:
        planned: The run.
        result: What its `result.json` holds.
        correct: Which images of the test split it gets right (images,).
        at_chance: Whether it is no better than guessing.
    """

    planned: Planned
    result: dict[str, Any]
    correct: NDArray[np.bool_]
    at_chance: bool

    @property
    def test(self) -> Scores:
        """Its scores on the test split."""
        return self.result["test"]

    @property
    def epochs(self) -> int:
        """How many epochs it trained, in all stages."""
        return sum(self.result.get("stages", {"train": self.result["epochs"]}).values())

    @property
    def pair(self) -> tuple[int, int | None]:
        """Seed and fold: runs of other arms with the same ones are its pairs."""
        return self.planned.seed, self.planned.fold


class Records:
    """The finished runs of a study; each is read once.

    Args:
        runs: All runs of the study.
    """

    def __init__(self, runs: Sequence[Planned]) -> None:
        self.runs = runs
        self._read: dict[str, Record] = {}

    def finished(self) -> list[Record]:
        """Those that are finished by now, in the order of the runs."""
        for planned in self.runs:
            if planned.name not in self._read and planned.directory.finished():
                self._read[planned.name] = _read(planned)
        return [self._read[planned.name] for planned in self.runs if planned.name in self._read]

    def failed(self) -> list[tuple[Planned, str]]:
        """Those whose last attempt failed, with the reason."""
        runs = [planned for planned in self.runs if not planned.directory.finished() and planned.error.exists()]
        return [(planned, planned.error.read_text(encoding="utf-8").strip()) for planned in runs]


def _read(planned: Planned) -> Record:
    result = planned.directory.read_result()
    predictions = Predictions.load(planned.directory.logits("test"))
    correct = (predictions.logits.argmax(1) == predictions.labels).numpy()
    guesses = at_chance(result["test"]["accuracy"], predictions.logits.shape[1], len(correct))
    return Record(planned, result, correct, guesses)
