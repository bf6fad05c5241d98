"""What several classifiers say together, as logits."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from understudy.losses.checks import at_least_float32, check_temperature

Average = Literal["logits", "probabilities"]
"""What an ensemble averages.

`logits`: the weighted arithmetic mean of the logits. Softened at any temperature this is the normalised geometric mean
of the members' probabilities; the member with the largest logits counts most.

`probabilities`: the arithmetic mean of the softened probabilities, which depends on the temperature that softens them.
"""


def average_logits(logits: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The weighted mean of logits.

    Args:
        logits: (batch, classes) of each member.
        shares: Weight of each member, together 1.

    Returns:
        (batch, classes), float32 or better.
    """
    return torch.stack([at_least_float32(each) * share for each, share in zip(logits, shares, strict=True)]).sum(0)


def average_probabilities(
    logits: Sequence[Tensor], shares: Sequence[float], temperature: float | Tensor = 1.0
) -> Tensor:
    r"""Logits that, softened at `temperature`, are the weighted mean of the members' softened probabilities.

    $T \log \sum_k w_k softmax(z_k / T)$. A method takes logits and softens them itself: at the same temperature it gets
    exactly the averaged probabilities, at another one something between these and the geometric mean.

    Args:
        logits: (batch, classes) of each member.
        shares: Weight of each member, above 0, together 1.
        temperature: Above 0.

    Returns:
        (batch, classes), float32 or better.

    Raises:
        ValueError: The temperature is not above 0.
    """
    check_temperature(temperature)
    # In log space: a probability that is 0 in float32 would have no logit.
    weighted = [
        log_softmax(at_least_float32(each) / temperature, dim=1) + math.log(share)
        for each, share in zip(logits, shares, strict=True)
    ]
    return torch.logsumexp(torch.stack(weighted), dim=0) * temperature
