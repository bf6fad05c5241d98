"""When an image may leave."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.exits.scores import doubt

ALWAYS, NEVER = math.inf, -math.inf


class Policy(NamedTuple):
    """A score with a threshold and a temperature for each early exit, in order of depth; the main exit takes the rest.

    Attributes:
        score: See `understudy.exits.scores.doubt`.
        thresholds: An image leaves at the first exit with a doubt below its threshold. `ALWAYS` lets all go, `NEVER`
            closes the exit: its head need not be evaluated.
        temperatures: Divide the logits of each early exit before the score.
    """

    score: str
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]

    @classmethod
    def of(cls, score: str, thresholds: Sequence[float], temperatures: Sequence[float] | None = None) -> "Policy":
        """With a temperature of 1 by default.

        Raises:
            UserError: There is not one temperature for each threshold, a threshold is not a number, or a temperature is
                not a finite one above 0.
        """
        temperatures = [1.0] * len(thresholds) if temperatures is None else temperatures
        if len(temperatures) != len(thresholds):
            raise UserError(
                f"{len(temperatures)} temperatures for {len(thresholds)} early exits: give one for each, "
                "without the main exit"
            )
        if any(math.isnan(threshold) for threshold in thresholds):
            raise UserError(f"thresholds {list(thresholds)} are not all numbers: give one number for each early exit")
        if not all(0 < temperature < math.inf for temperature in temperatures):
            raise UserError(f"temperatures {list(temperatures)} are not all above 0 and finite: 1 changes nothing")
        return cls(score, tuple(map(float, thresholds)), tuple(map(float, temperatures)))

    @property
    def closed(self) -> bool:
        """Whether no image may leave early."""
        return max(self.thresholds) == NEVER

    def doubts(self, logits: Tensor) -> Tensor:
        """Doubt of each early exit about each image.

        Args:
            logits: (exits + 1, images, classes), the main exit last.

        Returns:
            (exits, images), float32 or better.

        Raises:
            UserError: The number of exits differs.
        """
        if len(logits) - 1 != len(self.thresholds):
            raise UserError(f"{len(self.thresholds)} thresholds for {len(logits) - 1} early exits: give one for each")
        temperature = torch.tensor(self.temperatures, dtype=torch.float32)[:, None, None]
        return doubt(logits[:-1], self.score, temperature=temperature)

    def exit_taken(self, logits: Tensor) -> Tensor:
        """Number of the exit at which each image leaves.

        Args:
            logits: (exits + 1, images, classes), the main exit last.

        Returns:
            (images,), int64; the main exit is `exits`.
        """
        return self.exit_of(self.doubts(logits))

    def exit_of(self, doubts: Tensor) -> Tensor:
        """As `exit_taken`, from the doubts (exits, images)."""
        leaves = doubts < torch.tensor(self.thresholds, dtype=doubts.dtype)[:, None]
        last = torch.ones(1, doubts.shape[1], dtype=torch.bool)
        return torch.cat([leaves, last]).int().argmax(0)

    def turned(self, dial: float) -> "Policy":
        """Surer before an image may leave, or less sure.

        Args:
            dial: 1 changes nothing; 0 sends all images to the first exit, infinity all to the main exit. In between
                the thresholds are divided by it (of the energy: the exponential of the threshold).

        Raises:
            UserError: The dial is negative or not a number.
        """
        if not dial >= 0:
            raise UserError(f"dial={dial} is not valid: give 0 (all leave at the first exit) or more, 1 as calibrated")
        return self._replace(thresholds=tuple(_turned(self.score, value, dial) for value in self.thresholds))

    def to_record(self) -> dict[str, Any]:
        """Plain types for JSON or YAML; an exit that is open to all or to none has a word for a threshold."""
        words = {ALWAYS: "always", NEVER: "never"}
        thresholds = [words.get(value, value) for value in self.thresholds]
        return {"score": self.score, "thresholds": thresholds, "temperatures": list(self.temperatures)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Policy":
        """The inverse of `to_record`."""
        numbers: dict[float | str, float] = {"always": ALWAYS, "never": NEVER}
        given: Sequence[float | str] = record["thresholds"]
        return cls.of(record["score"], [float(numbers.get(value, value)) for value in given], record["temperatures"])


def _turned(score: str, threshold: float, dial: float) -> float:
    if dial in (0, math.inf):
        return NEVER if dial else ALWAYS
    return threshold - math.log(dial) if score == "energy" else threshold / dial
