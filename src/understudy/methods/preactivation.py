"""What methods that compare pre-activations have in common."""

from typing import ClassVar

from torch import Tensor, nn

from understudy.adapters import Shape
from understudy.losses.spatial import pool_to_smaller
from understudy.methods.base import Facts
from understudy.methods.feature import FeatureMethod, Where
from understudy.types import Outputs


class PreactivationMethod(FeatureMethod):
    """A method that brings the student's maps to the teacher's width by a connector for each pair.

    Args:
        weights: As `Method`.
        pairs: As `FeatureMethod`.
    """

    where: ClassVar[Where] = "preact"

    def setup(self, facts: Facts) -> None:
        """Build the connectors.

        Raises:
            UserError: A layer gives no map.
        """
        self.connectors = nn.ModuleList(self.connector(*shapes) for shapes in self.map_shapes(facts))

    def connector(self, student: Shape, teacher: Shape) -> nn.Module:
        """What brings a student's map to the width of the teacher's."""
        raise NotImplementedError

    def connected(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """Connected maps of the student and those of the teacher, pair by pair and of one size."""
        pairs = zip(self.paired(student, teacher), self.connectors, strict=True)
        return [pool_to_smaller(connect(ours), theirs) for (ours, theirs), connect in pairs]


def halved_upwards(losses: list[Tensor]) -> Tensor:
    """The sum of losses from shallow to deep with weights 1 for the deepest, 1/2 for the one before, 1/4, ..."""
    total = losses[-1]
    for steps, loss in enumerate(reversed(losses[:-1]), start=1):
        total = total + loss * 0.5**steps
    return total
