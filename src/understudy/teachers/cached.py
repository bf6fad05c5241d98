"""A teacher that is asked only once about each view of an image."""

from typing import Self

import torch
from torch import Tensor, nn

from understudy.teachers.frozen import Teacher
from understudy.teachers.store import TargetStore
from understudy.types import Batch, Outputs

LOGITS = "logits"


class CachedTeacher(nn.Module):
    """Looks targets up; what is not there yet the teacher is asked for, and it is kept.

    A target is always what the store would give back, rounding included: a run over an empty cache and one over a full
    cache see the same numbers.

    Args:
        teacher: Whom to ask.
        store: Where answers are, with a field for the logits and one for each tapped layer.

    Attributes:
        seen: Images that were asked about.
        asked: Those of them that the teacher was asked about.
        too_large: Those of these whose answer does not fit into the store's precision.
    """

    def __init__(self, teacher: Teacher, store: TargetStore) -> None:
        super().__init__()
        self.teacher = teacher
        self.store = store
        self.asked = self.seen = self.too_large = 0

    def train(self, mode: bool = True) -> Self:
        """Do nothing: a teacher never trains."""
        return self

    @torch.no_grad()
    def forward(self, batch: Batch) -> Outputs:
        """A batch -> targets (batch, classes) and pooled features (batch, channels), float32, without a graph."""
        host = torch.stack([batch.view, batch.index]).cpu() if batch.host is None else batch.host
        found, there = self.store.read(host[0], host[1])
        if not there.all():
            rows = torch.nonzero(~there).flatten()
            for name, value in self._asked(batch.rows(rows), host[:, rows]).items():
                found[name][rows] = value
        self.seen += len(batch.image)
        device = batch.image.device
        features = {name: value.to(device, non_blocking=True) for name, value in found.items()}
        return Outputs(features.pop(LOGITS), features)

    def _asked(self, batch: Batch, host: Tensor) -> dict[str, Tensor]:
        outputs: Outputs = self.teacher(batch)
        values = {LOGITS: outputs.logits, **outputs.features}
        self.too_large += self.store.write(host[0], host[1], values)
        self.asked += len(batch.image)
        return self.store.rounded(values)
