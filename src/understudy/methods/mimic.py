"""Feature mimicry in four descriptions and two distances, after FitNets (2015) and attention transfer (2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from understudy.adapters import regressor
from understudy.losses.mimic import Distance, Scale, What, mimic_loss
from understudy.losses.spatial import check_choice
from understudy.methods.base import Facts, Taps, register
from understudy.methods.feature import FeatureMethod, Pairs
from understudy.methods.relation import whole_batch
from understudy.methods.weighting import Ramp, Weight
from understudy.types import Batch, Outputs, Terms


@register("mimic")
class Mimic(FeatureMethod):
    """Match a plain description of the teacher's maps.

    With `shares` each pair has a term of its own, `mimic_1`, `mimic_2` and so on; otherwise `mimic` is their sum. For
    `feature` and `gram` a student layer that does not fit its partner gets a regressor. Under several processes
    `similarity` is that of the images of all of them.

    Args:
        pairs: (student layer, teacher layer) names; None takes the ends of the stages.
        shares: Factors of `weight` for each pair, as many as there are pairs; None is 1 for all.
        what: `feature`, its `attention` map, its channels' `gram` matrix, or the images' `similarity`.
        distance: Absolute (`l1`) or squared (`l2`) difference, averaged over all elements.
        scale: `unit` divides each image's description by its length before; `raw` does not.
        weight: Weight of the term; 1, since there is no published value for these reductions.

    Raises:
        ValueError: A setting is unknown, a weight is negative, or there are not as many shares as pairs.
    """

    where = "stages"

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        shares: Sequence[float] | None = None,
        what: What = "attention",
        distance: Distance = "l2",
        scale: Scale = "unit",
        weight: Weight = 1.0,
    ) -> None:
        super().__init__(_weights(weight, shares), pairs=pairs)
        check_choice("what", what, ("attention", "feature", "gram", "similarity"))
        check_choice("distance", distance, ("l1", "l2"))
        check_choice("scale", scale, ("unit", "raw"))
        self.shares = None if shares is None else tuple(shares)
        self.what: What = what
        self.distance: Distance = distance
        self.scale: Scale = scale
        self.relates_images = what == "similarity"
        self.adapters = nn.ModuleList()
        if self.pairs:
            self._check_shares()

    def taps(self) -> Taps:
        """The paired layers.

        Raises:
            ValueError: There are not as many shares as pairs.
        """
        taps = super().taps()
        self._check_shares()
        return taps

    def setup(self, facts: Facts) -> None:
        """Build a regressor for each pair that does not fit."""
        self.adapters = nn.ModuleList(
            self._adapter(facts.student[ours], facts.teacher[theirs]) for ours, theirs in self.pairs
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `mimic`, or a term for each pair."""
        losses = [
            self._loss(adapter(ours), theirs)
            for adapter, (ours, theirs) in zip(self.adapters, self.paired(student, teacher), strict=True)
        ]
        return (
            {"mimic": torch.stack(losses).sum()} if self.shares is None else dict(zip(self.terms, losses, strict=True))
        )

    def _loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.relates_images:
            student, teacher = whole_batch(student), whole_batch(teacher.detach())
        return mimic_loss(student, teacher, what=self.what, distance=self.distance, scale=self.scale)

    def _adapter(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module:
        fits = student == teacher if self.what == "feature" else student[0] == teacher[0] or self.what != "gram"
        return nn.Identity() if fits else regressor(student, teacher)

    def _check_shares(self) -> None:
        if self.shares is not None and len(self.shares) != len(self.pairs):
            raise ValueError(f"shares must be one for each of {len(self.pairs)} pairs, got {list(self.shares)}")


def _weights(weight: Weight | Mapping[str, float], shares: Sequence[float] | None) -> dict[str, Weight]:
    if isinstance(weight, Mapping):
        weight = Ramp(**weight)  # pyright: ignore[reportArgumentType]  # checked against its fields before
    if shares is None:
        return {"mimic": weight}
    return {f"mimic_{number}": _scaled(weight, share) for number, share in enumerate(shares, start=1)}


def _scaled(weight: Weight, share: float) -> Weight:
    if isinstance(weight, Ramp):
        return replace(weight, start=weight.start * share, end=weight.end * share)
    return weight * share
