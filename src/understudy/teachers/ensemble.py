"""Several teachers as one (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 3)."""

from collections.abc import Sequence

from torch import Tensor, nn

from understudy.losses.average import Average, average_logits, average_probabilities
from understudy.losses.checks import check_temperature


class Ensemble(nn.Module):
    """Several classifiers that answer as one; a `Teacher` takes it as its model.

    A layer of a member is tapped as `members.0.network.layer1`.

    Args:
        members: Images as in the batch -> logits (batch, classes), with the same classes in the same order.
        average: See `Average`.
        shares: Weight of each member, above 0; divided by their sum. None weighs all alike.
        temperature: Where probabilities are averaged; that of the method makes its targets their exact mean.

    Raises:
        ValueError: There is no member, not one share for each, or a share or the temperature is not above 0.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        *,
        average: Average = "logits",
        shares: Sequence[float] | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member")
        if average not in ("logits", "probabilities"):
            raise ValueError(f"average must be logits or probabilities, got {average!r}")
        check_temperature(temperature)
        self.members = nn.ModuleList(members)
        self.average = average
        self.temperature = temperature
        self.shares = _normalised(shares, len(members))

    def forward(self, image: Tensor) -> Tensor:
        """Images (batch, channels, height, width) -> logits (batch, classes)."""
        logits = [member(image) for member in self.members]
        if self.average == "logits":
            return average_logits(logits, self.shares)
        return average_probabilities(logits, self.shares, self.temperature)


def members_of(model: nn.Module) -> list[nn.Module]:
    """The members of an ensemble; any other model is its own only member."""
    return list(model.members) if isinstance(model, Ensemble) else [model]


def _normalised(shares: Sequence[float] | None, num: int) -> tuple[float, ...]:
    chosen = [1.0] * num if shares is None else list(shares)
    if len(chosen) != num:
        raise ValueError(f"shares {chosen} must be one for each of {num} members")
    if not all(0 < share < float("inf") for share in chosen):
        raise ValueError(f"shares {chosen} must be above 0 and finite")
    return tuple(share / sum(chosen) for share in chosen)
