"""Factor transfer (Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer, 2018)."""

from typing import ClassVar, Self

import torch
from torch import nn

from understudy.losses.factor import factor_loss
from understudy.losses.hint import hint_loss
from understudy.losses.spatial import pool_to_smaller
from understudy.methods.base import Facts, Stage, register
from understudy.methods.feature import FeatureMethod, Pairs, Where
from understudy.methods.weighting import Weight
from understudy.types import Batch, Outputs, Terms

PARAPHRASE = "paraphrase"


@register("ft")
class FT(FeatureMethod):
    """Translate the student's last map into a code of the teacher's that an auto-encoder found before.

    In the first stage only the paraphraser is trained, an auto-encoder of the teacher's map; the student does not
    change. Then the paraphraser is frozen, and the student learns with a translator to give the same factor. As in
    RepDistiller the translator has BatchNorm and the paraphraser none, nor has it in the authors' code.

    Args:
        pairs: (student layer, teacher layer) names of maps; None takes the ends of the last stage.
        rate: Channels of the factor as a share of the teacher's; 0.5 as in the paper and RepDistiller.
        paraphraser_epochs: Length of the first stage; 30 as in RepDistiller.
        paraphraser_weight: Weight of `ft_reconstruction`, the only term of the first stage.
        weight: Weight of `ft_factor`; 200 as in RepDistiller. The reduction is the mean over batch and elements.

    Raises:
        ValueError: The rate is not above 0, the first stage has no epoch, or a weight is negative.
    """

    where: ClassVar[Where] = "last"

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        rate: float = 0.5,
        paraphraser_epochs: int = 30,
        paraphraser_weight: Weight = 1.0,
        weight: Weight = 200.0,
    ) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be above 0, got {rate}")
        if paraphraser_epochs < 1:
            raise ValueError(f"paraphraser_epochs must be 1 or more, got {paraphraser_epochs}")
        # Before the rest, which asks for the stages.
        self.paraphraser_epochs = paraphraser_epochs
        super().__init__({"ft_reconstruction": paraphraser_weight, "ft_factor": weight}, pairs=pairs)
        self.rate = rate
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()
        self.translators = nn.ModuleList()

    def stages(self) -> tuple[Stage, ...]:
        """The paraphraser alone, then the student."""
        return Stage(PARAPHRASE, epochs=self.paraphraser_epochs, labels=False, student=False), Stage("train")

    def begin(self, stage: str) -> None:
        """The paraphraser stands still from the second stage on."""
        super().begin(stage)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As usual, but a finished paraphraser stays in eval mode."""
        super().train(mode)
        if self.stage != PARAPHRASE:
            self.encoders.eval()
            self.decoders.eval()
        return self

    def setup(self, facts: Facts) -> None:
        """Build paraphrasers and translators.

        Raises:
            UserError: A layer gives no map.
        """
        channels = [(student[0], teacher[0]) for student, teacher in self.map_shapes(facts)]
        factors = [max(1, round(self.rate * theirs)) for _, theirs in channels]
        widths = [(ours, theirs, factor) for (ours, theirs), factor in zip(channels, factors, strict=True)]
        self.encoders = nn.ModuleList(_encoder(theirs, factor) for _, theirs, factor in widths)
        self.decoders = nn.ModuleList(_decoder(factor, theirs) for _, theirs, factor in widths)
        self.translators = nn.ModuleList(_translator(ours, factor) for ours, _, factor in widths)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `ft_reconstruction` in the first stage, `ft_factor` in the second."""
        if self.stage == PARAPHRASE:
            return self._paraphrase(teacher)
        losses: list[torch.Tensor] = []
        pairs = zip(self.paired(student, teacher), self.encoders, self.translators, strict=True)
        for (ours, theirs), encoder, translator in pairs:
            with torch.no_grad():
                target = encoder(theirs)
            losses.append(factor_loss(*pool_to_smaller(translator(ours), target)))
        return {"ft_factor": torch.stack(losses).sum()}

    def _paraphrase(self, teacher: Outputs) -> Terms:
        losses: list[torch.Tensor] = []
        for (_, layer), encoder, decoder in zip(self.pairs, self.encoders, self.decoders, strict=True):
            feature = teacher.features[layer]
            losses.append(hint_loss(decoder(encoder(feature)), feature))
        return {"ft_reconstruction": torch.stack(losses).sum()}


def _encoder(in_channels: int, factor: int) -> nn.Module:
    """Half of the paraphraser: three 3x3 convolutions."""
    steps = [(in_channels, in_channels), (in_channels, factor), (factor, factor)]
    return nn.Sequential(*[_activated(nn.Conv2d(*step, 3, padding=1)) for step in steps])


def _decoder(factor: int, out_channels: int) -> nn.Module:
    steps = [(factor, factor), (factor, out_channels), (out_channels, out_channels)]
    return nn.Sequential(*[_activated(nn.ConvTranspose2d(*step, 3, padding=1)) for step in steps])


def _translator(in_channels: int, factor: int) -> nn.Module:
    """As the encoder, with BatchNorm."""
    steps = [(in_channels, in_channels), (in_channels, factor), (factor, factor)]
    return nn.Sequential(*[_activated(nn.Conv2d(*step, 3, padding=1), nn.BatchNorm2d(step[1])) for step in steps])


def _activated(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.LeakyReLU(0.1))
