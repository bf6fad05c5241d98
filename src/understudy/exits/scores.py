"""How unsure an exit is about an image, from its logits. The same functions calibrate and decide.

Each score is a doubt: lower is surer. An image leaves at the first exit whose doubt is *below* its threshold, so
infinity keeps no image back and -infinity lets none go; for the scores that are never negative 0 lets none go either.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from understudy.errors import UserError, did_you_mean


def entropy_nats(logits: Tensor) -> Tensor:
    """Entropy of the probabilities in nats: 0 to the natural logarithm of the number of classes."""
    log_probability = logits.log_softmax(-1)
    # A class that is ruled out has -inf, and adds nothing.
    finite = log_probability.clamp(min=torch.finfo(log_probability.dtype).min)
    return -(log_probability.exp() * finite).sum(-1)


def entropy_bits(logits: Tensor) -> Tensor:
    """Entropy of the probabilities in bits: 0 to log2 of the number of classes (BranchyNet, ICPR 2016)."""
    return entropy_nats(logits) / math.log(2)


def improbability(logits: Tensor) -> Tensor:
    """1 minus the largest probability: 0 to 1 - 1 / classes."""
    return -torch.expm1(logits.log_softmax(-1).amax(-1))


def narrowness(logits: Tensor) -> Tensor:
    """1 minus the margin between the two largest probabilities: 0 to 1."""
    top = logits.softmax(-1).topk(2, -1).values
    return 1 - (top[..., 0] - top[..., 1])


def energy(logits: Tensor) -> Tensor:
    """Minus logsumexp of the logits, any real number (Liu et al., Energy-based OOD detection, NeurIPS 2020)."""
    return -logits.logsumexp(-1)


def vacuity(logits: Tensor) -> Tensor:
    """Uncertainty of a Dirichlet distribution with the exponentials of the logits as evidence: 0 to 1.

    The number of classes over that number plus all evidence (Sensoy et al., Evidential Deep Learning, NeurIPS 2018;
    exponentials as in SanityLacking/Self-Distillation, each image by itself). It ranks images as the energy does.
    """
    return (math.log(logits.shape[-1]) - logits.logsumexp(-1)).sigmoid()


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": entropy_bits,
    "entropy-nats": entropy_nats,
    "max-probability": improbability,
    "margin": narrowness,
    "energy": energy,
    "evidence": vacuity,
}


def doubt(logits: Tensor, score: str = "entropy", *, temperature: float | Tensor = 1.0) -> Tensor:
    """How unsure each row of logits is; lower is surer.

    Args:
        logits: (..., classes), never probabilities: there is one softmax, and it is here.
        score: entropy (bits), entropy-nats, max-probability (1 - p), margin (1 - margin), energy or evidence
            (what is missing of it).
        temperature: Divides the logits: a number, or a tensor that broadcasts with them.

    Returns:
        (...), float32 or better.

    Raises:
        UserError: There is no such score.
    """
    if score not in SCORES:
        raise UserError(f"unknown score '{score}': {did_you_mean(score, SCORES)}")
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return SCORES[score](exact / temperature)
