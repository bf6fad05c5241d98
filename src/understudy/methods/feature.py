"""What methods that compare features have in common."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor

from understudy.adapters import Shape
from understudy.errors import UserError
from understudy.matching import Match, Pair
from understudy.methods.base import Facts, Method, Taps
from understudy.methods.weighting import Weight
from understudy.types import Outputs

Pairs = Sequence[Pair]
"""(student layer, teacher layer) names, as `understudy.taps.Tapped` takes them."""


Where = Literal["stages", "middle", "last", "preact", "pooled", "final", "stem"]
"""The fields of a `Match`."""


class FeatureMethod(Method):
    """A method that reads pairs of layers.

    Args:
        weights: As `Method`.
        pairs: (student layer, teacher layer) names; None takes `automatic` of an automatic pairing.

    Raises:
        ValueError: The pairs are empty, or one is given twice.
    """

    where: ClassVar[Where] = "stages"
    """Which pairs of a `Match` are read where none are given."""

    def __init__(self, weights: Mapping[str, Weight], *, pairs: Pairs | None) -> None:
        super().__init__(weights)
        if pairs is not None and not pairs:
            raise ValueError("pairs is empty: name layers, or leave it out for the automatic pairing")
        self.pairs: tuple[Pair, ...] = tuple((student, teacher) for student, teacher in pairs or ())
        twice = [pair for pair in self.pairs if self.pairs.count(pair) > 1]
        if twice:
            raise ValueError(f"pairs has [{', '.join(twice[0])}] twice: name each pair once")

    def automatic(self, match: Match) -> tuple[Pair, ...]:
        """What to read where no pairs are given: `where` of the pairing, unless a subclass says otherwise."""
        return getattr(match, self.where)

    def choose(self, match: Match) -> None:
        """Take the automatic pairing unless pairs were given.

        Raises:
            UserError: The pairing has no layers of the kind that this method reads.
        """
        self.pairs = self.pairs or self.automatic(match)
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

    def map_shapes(self, facts: Facts) -> list[tuple[Shape, Shape]]:
        """Shapes (channels, height, width) of student and teacher, pair by pair.

        Raises:
            UserError: A layer gives no map.
        """
        for ours, theirs in self.pairs:
            student, teacher = facts.student[ours], facts.teacher[theirs]
            if len(student) != 3 or len(teacher) != 3:
                raise UserError(
                    f"{type(self).__name__} reads maps (channels, height, width), but student layer '{ours}' is "
                    f"{student} and teacher layer '{theirs}' is {teacher}: name other layers in pairs"
                )
        return [(facts.student[ours], facts.teacher[theirs]) for ours, theirs in self.pairs]

    def paired(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Features of student and teacher, pair by pair."""
        return [(student.features[ours], teacher.features[theirs]) for ours, theirs in self.pairs]
