"""What methods that compare features have in common."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor

from understudy.errors import UserError
from understudy.matching import Match, Pair
from understudy.methods.base import Method, Taps
from understudy.methods.weighting import Weight
from understudy.types import Outputs

Pairs = Sequence[Pair]
"""(student layer, teacher layer) names, as `understudy.taps.Tapped` takes them."""


Where = Literal["stages", "middle", "last", "preact", "pooled", "final"]
"""The fields of a `Match`."""


class FeatureMethod(Method):
    """A method that reads pairs of layers.

    Args:
        weights: As `Method`.
        pairs: (student layer, teacher layer) names; None takes `where` of the automatic pairing.
    """

    where: ClassVar[Where] = "stages"
    """Which pairs of a `Match` are read where none are given."""

    def __init__(self, weights: Mapping[str, Weight], *, pairs: Pairs | None) -> None:
        super().__init__(weights)
        self.pairs: tuple[Pair, ...] = () if pairs is None else tuple((student, teacher) for student, teacher in pairs)

    def choose(self, match: Match) -> None:
        """Take the automatic pairing unless pairs were given.

        Raises:
            UserError: The pairing has no layers of the kind that this method reads.
        """
        self.pairs = self.pairs or getattr(match, self.where)
        if not self.pairs:
            raise UserError(
                f"{type(self).__name__} reads '{self.where}', of which one of the networks has none (see `understudy "
                "match`): set pairs=[[student layer, teacher layer]]"
            )

    def taps(self) -> Taps:
        """The paired layers.

        Raises:
            ValueError: No pairs were given or chosen.
        """
        if not self.pairs:
            name = type(self).__name__
            raise ValueError(f"{name} needs pairs=[(student layer, teacher layer), ...], or choose(match_layers(...))")
        return Taps(tuple(student for student, _ in self.pairs), tuple(teacher for _, teacher in self.pairs))

    def paired(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Features of student and teacher, pair by pair."""
        return [(student.features[ours], teacher.features[theirs]) for ours, theirs in self.pairs]
