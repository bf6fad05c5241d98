r"""Contrast of one matching pair with many others, by noise-contrastive estimation (Tian et al., ICLR 2020)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from understudy.losses.checks import at_least_float32

# As in the authors' code.
NCE_EPSILON = 1e-7


def contrast_scores(embeddings: Tensor, bank: Tensor, chosen: Tensor) -> Tensor:
    """Inner products of each embedding with its chosen rows of a memory bank.

    All products are computed, in one matrix product, and the chosen ones are read off: with 16,384 negatives that
    is some twenty times faster than gathering (batch, chosen, width) rows, and takes a tenth of the memory.

    Args:
        embeddings: (batch, width).
        bank: (rows, width).
        chosen: Row numbers (batch, chosen), int64.

    Returns:
        (batch, chosen).

    Raises:
        ValueError: The widths or the batches differ.
    """
    shapes = tuple(embeddings.shape), tuple(bank.shape), tuple(chosen.shape)
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1] or shapes[0][0] != shapes[2][0]:
        raise ValueError(
            f"expected embeddings (batch, width), bank (rows, width), chosen (batch, chosen), got {shapes}"
        )
    return (embeddings @ bank.T).gather(1, chosen)


def log_normalizer(scores: Tensor, num_images: int) -> Tensor:
    r"""Logarithm of $Z = N \cdot mean(e^{score})$, as a constant.

    Args:
        scores: Inner products over the temperature, of any shape.
        num_images: N, the rows of the memory bank.

    Returns:
        A scalar without gradient.
    """
    values = at_least_float32(scores.detach()).flatten()
    return values.logsumexp(0) + math.log(num_images / values.numel())


def nce_loss(scores: Tensor, log_z: Tensor, num_images: int) -> Tensor:
    r"""Noise-contrastive estimation of a match, summed over positive and negatives and averaged over the batch.

    $-\frac{1}{B} \sum_b [\log \frac{P_0}{P_0 + c} + \sum_{k=1}^{K} \log \frac{K / N}{P_k + c}]$ with
    $P_k = e^{score_k} / Z$ and $c = K / N + \epsilon$, epsilon 1e-7: the reduction of the authors' code
    (RepDistiller). It is computed with log-sigmoids, so that no score is too large.

    Args:
        scores: Inner products over the temperature (batch, 1 + negatives), the positive first.
        log_z: Logarithm of the normaliser Z, a scalar (see `log_normalizer`).
        num_images: N, the images that negatives are drawn from; 1 / N is the noise distribution.

    Returns:
        A scalar, 0 or more up to epsilon.

    Raises:
        ValueError: There are no negatives, or the batch is empty.

    Paper: Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020.
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        raise ValueError(f"scores must be (batch, 1 + negatives), got {tuple(scores.shape)}")
    noise = (scores.shape[1] - 1) / num_images
    margin = at_least_float32(scores) - log_z - math.log(noise + NCE_EPSILON)
    # A factor of each negative that epsilon leaves over.
    rest = (scores.shape[1] - 1) * math.log1p(NCE_EPSILON / noise)
    return rest - (logsigmoid(margin[:, 0]) + logsigmoid(-margin[:, 1:]).sum(1)).mean()


def draw_outside(first: Tensor, count: Tensor, num_rows: int, random: Tensor) -> Tensor:
    """Row numbers, uniform over the rows of a memory bank outside one interval for each sample, with replacement.

    Args:
        first: First excluded row (batch,), int64.
        count: Number of excluded rows (batch,), int64, fewer than `num_rows`.
        num_rows: Rows of the bank.
        random: Uniform whole numbers of 31 bits (batch, draws), int64, as `understudy.data.random.draws` makes them.

    Returns:
        (batch, draws), int64.
    """
    allowed = (num_rows - count)[:, None]
    # A fraction of 31 random bits, times the number of allowed rows; exact in int64, unlike floating point.
    position = (random * allowed) >> 31
    return position + torch.where(position >= first[:, None], count[:, None], 0)
