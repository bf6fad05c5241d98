"""Contrastive representation distillation (Tian, Krishnan and Isola, ICLR 2020)."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy.data.random import draws
from understudy.losses.checks import check_temperature
from understudy.losses.contrastive import contrast_scores, draw_outside, log_normalizer, nce_loss
from understudy.losses.unit import unit
from understudy.methods.base import Facts, register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.relation import pooled, whole_batch
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms

Negatives = Literal["class", "instance"]
"""`class`: images of other classes; `instance`: any other image."""


@register("crd")
class CRD(FeatureMethod):
    """Tell the teacher's view of an image from its view of many others, and the student's likewise.

    Both sides' pooled features are embedded linearly and L2-normalised. Each embedding is contrasted with what the
    other side's memory bank holds of the same image and of random others (`understudy.losses.contrastive.nce_loss`);
    the two losses are added. After each training step the banks move towards the new embeddings. Both embeddings are
    trained; the teacher is not.

    Values are those of RepDistiller, except that negatives are drawn with replacement, as the estimator assumes. The
    draws depend on the seed, the step and the image alone, and the banks remember the images of all processes, so that
    several train as one.

    The cost grows with the training images: each of the two banks has `width` float32 numbers for every one of them
    (26 MB for CIFAR-100, 0.66 GB for ImageNet); a step needs each once more, and the products of the batch with all of
    its rows; a checkpoint holds both. There is no half precision: in bfloat16 a probability would be wrong by 0.2 %.

    Args:
        weight: Weight of the term; 0.8 as in the paper.
        temperature: Divides inner products; 0.07 as in RepDistiller.
        num_negatives: Drawn for each image; 16384 as in the paper.
        width: Of the embeddings; 128 as in the paper.
        momentum: Share of the old memory that stays; 0.5 as in the paper.
        negatives: `class` for images of other classes, as in the paper's supervised setting; `instance` for any other.
        pairs: One (student layer, teacher layer); what goes into the heads by default. Maps are averaged over their
            positions.

    Raises:
        ValueError: The weight is negative, or a setting is out of range.
    """

    where = "pooled"
    # The banks hold the labelled images; the index of an unlabelled one is not a row.
    needs_labels: ClassVar[bool] = True
    relates_images = True
    equal_buffers: ClassVar[tuple[str, ...]] = ("bank_student", "bank_teacher", "row", "first_excluded", "num_excluded")

    bank_student: Tensor
    bank_teacher: Tensor
    log_z: Tensor
    seed: Tensor
    step: Tensor
    row: Tensor
    first_excluded: Tensor
    num_excluded: Tensor

    def __init__(
        self,
        *,
        weight: Weight = 0.8,
        temperature: float = 0.07,
        num_negatives: int = 16384,
        width: int = 128,
        momentum: float = 0.5,
        negatives: Negatives = "class",
        pairs: Pairs | None = None,
    ) -> None:
        super().__init__({"crd": weight}, pairs=pairs)
        check_temperature(temperature)
        if num_negatives < 1 or width < 1 or not 0 <= momentum < 1:
            raise ValueError(
                f"num_negatives and width must be at least 1 and momentum in [0, 1), "
                f"got {num_negatives}, {width} and {momentum}"
            )
        if negatives not in ("class", "instance"):
            raise ValueError(f"negatives must be class or instance, got {negatives!r}")
        self.temperature = temperature
        self.num_negatives = num_negatives
        self.width = width
        self.momentum = momentum
        self.negatives = negatives

    def setup(self, facts: Facts) -> None:
        """Make embeddings for the widths of the features, and memory banks of a row for each training image.

        Raises:
            ValueError: The labels of the training split are unknown or all of one class, or there is not one pair.
        """
        if len(self.pairs) != 1:
            raise ValueError(f"crd compares one pair of layers, got {len(self.pairs)}")
        if not len(facts.labels):
            raise ValueError("crd draws contrasting images: call setup(..., labels=class ids of the training split)")
        if len(facts.labels) < 2 or (self.negatives == "class" and facts.labels.min() == facts.labels.max()):
            raise ValueError(f"crd finds nothing to contrast: all images are of class {int(facts.labels[0])}")
        ours, theirs = self.pairs[0]
        # The number of channels comes first in maps and vectors.
        self.embed_student = nn.Linear(facts.student[ours][0], self.width)
        self.embed_teacher = nn.Linear(facts.teacher[theirs][0], self.width)
        # Uniform with variance 1 / width, rows about as long as the embeddings that replace them.
        bound = math.sqrt(3 / self.width)
        for bank in ("bank_student", "bank_teacher"):
            self.register_buffer(bank, torch.empty(len(facts.labels), self.width).uniform_(-bound, bound))
        # For contrasts of the student with the teacher's bank and back; minus infinity until the first batch.
        self.register_buffer("log_z", torch.full((2,), -math.inf))
        # What the draws of negatives follow.
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("step", torch.tensor(0))
        self._number(facts.labels)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `crd`."""
        ((ours, theirs),) = self.paired(student, teacher)
        embedded = unit(self.embed_student(pooled(ours)))
        embedded_teacher = unit(self.embed_teacher(pooled(theirs.detach())))
        rows = self.row[batch.index]
        chosen = self._chosen(batch.index, rows)
        banks = self.bank_teacher, self.bank_student
        scores = [self._scores(v, bank, chosen) for v, bank in zip((embedded, embedded_teacher), banks, strict=True)]
        log_z = self._normalizers(scores)
        if self.training:
            self._remember(rows, embedded.detach(), embedded_teacher.detach(), log_z)
        num_images = len(self.row)
        return {"crd": nce_loss(scores[0], log_z[0], num_images) + nce_loss(scores[1], log_z[1], num_images)}

    def _number(self, labels: Tensor) -> None:
        """Give images rows in the banks in order of their class, so that what is excluded is one interval."""
        order = labels.argsort(stable=True)
        row = torch.empty_like(order)
        row[order] = torch.arange(len(labels), device=labels.device)
        if self.negatives == "class":
            count = labels.bincount()
            first = count.cumsum(0) - count
            excluded = first[labels], count[labels]
        else:
            excluded = row, torch.ones_like(row)
        self.register_buffer("row", row, persistent=False)
        self.register_buffer("first_excluded", excluded[0], persistent=False)
        self.register_buffer("num_excluded", excluded[1], persistent=False)

    def _chosen(self, index: Tensor, rows: Tensor) -> Tensor:
        """Rows (batch, 1 + negatives) of the banks, that of the image itself first."""
        first, count = self.first_excluded[index], self.num_excluded[index]
        random = draws(index, self.num_negatives, self.seed, self.step)
        return torch.cat([rows[:, None], draw_outside(first, count, len(self.row), random)], 1)

    def _scores(self, embedded: Tensor, bank: Tensor, chosen: Tensor) -> Tensor:
        # A copy, since the bank changes before the backward pass needs it.
        return contrast_scores(embedded, bank.clone(), chosen) / self.temperature

    def _normalizers(self, scores: list[Tensor]) -> Tensor:
        fresh = torch.stack([log_normalizer(side, len(self.row)) for side in scores])
        everywhere = whole_batch(fresh[None])
        mean = everywhere.logsumexp(0) - math.log(len(everywhere))
        return torch.where(self.log_z.isinf(), mean, self.log_z)

    @torch.no_grad()
    def _remember(self, rows: Tensor, embedded: Tensor, embedded_teacher: Tensor, log_z: Tensor) -> None:
        """Move the images' rows of both banks towards their new embeddings, in place."""
        self.log_z.copy_(log_z)
        self.step.add_(1)
        rows = whole_batch(rows)
        last = last_of_equal(rows)
        for bank, new in ((self.bank_student, embedded), (self.bank_teacher, embedded_teacher)):
            moved = unit(bank[rows].lerp(whole_batch(new), 1 - self.momentum))
            bank.index_copy_(0, rows, moved[last])


def last_of_equal(rows: Tensor) -> Tensor:
    """Where each row number occurs last: of an image twice in a batch the same view must be remembered everywhere.

    Args:
        rows: Row numbers (batch,).

    Returns:
        Positions (batch,), int64.
    """
    positions = torch.arange(len(rows), device=rows.device)
    return torch.where(rows[:, None] == rows, positions, 0).amax(1)
