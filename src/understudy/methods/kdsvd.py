"""Self-supervised Knowledge Distillation Using Singular Value Decomposition (Lee, Kim and Song, ECCV 2018)."""

from understudy.errors import UserError
from understudy.losses.singular import svd_loss
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms


@register("kdsvd")
class KDSVD(FeatureMethod):
    """Match how the leading singular vectors of consecutive stages correlate; see `svd_loss` for what differs.

    Args:
        pairs: (student layer, teacher layer) names of maps with equal channels, from shallow to deep; None takes the
            ends of the stages.
        num_vectors: Singular vectors of each of the teacher's maps; 1 as in RepDistiller.
        weight: Weight of the term: sums over channels, vectors and pairs, averaged over the batch; 1 as in
            RepDistiller.

    Raises:
        ValueError: There are no singular vectors, or the weight is negative.
    """

    def __init__(self, *, pairs: Pairs | None = None, num_vectors: int = 1, weight: Weight = 1.0) -> None:
        super().__init__({"kdsvd": weight}, pairs=pairs)
        if num_vectors < 1:
            raise ValueError(f"num_vectors must be 1 or more, got {num_vectors}")
        self.num_vectors = num_vectors

    def setup(self, facts: Facts) -> None:
        """Check that the channels agree: the method has no adapter.

        Raises:
            UserError: They do not, or there is one pair only.
        """
        if len(self.pairs) < 2:
            raise UserError("kdsvd relates stages: give it two pairs of layers or more")
        for ours, theirs in self.pairs:
            student, teacher = facts.student[ours], facts.teacher[theirs]
            if len(student) != 3 or len(teacher) != 3 or student[0] != teacher[0]:
                raise UserError(
                    f"kdsvd needs maps with equal channels, but '{ours}' and '{theirs}' have shapes "
                    f"{student} and {teacher}: choose a teacher and a student of one width"
                )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `kdsvd`."""
        pairs = self.paired(student, teacher)
        return {
            "kdsvd": svd_loss(
                [ours for ours, _ in pairs], [theirs for _, theirs in pairs], num_vectors=self.num_vectors
            )
        }
