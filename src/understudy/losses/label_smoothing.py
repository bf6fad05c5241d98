"""Label smoothing (Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, CVPR 2016)."""

from torch import Tensor
from torch.nn.functional import log_softmax

from understudy.losses.checks import at_least_float32, check_labels


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float | Tensor = 0.1) -> Tensor:
    r"""Cross-entropy with labels of which a share is spread evenly over all classes, averaged over the batch.

    $-(1 - \epsilon) \log p_y - \frac{\epsilon}{C} \sum_c \log p_c$. The true class takes its part of the spread share,
    as in the paper and in torch; the code of Tf-KD spreads over the other $C - 1$ classes only, which is this with
    $\epsilon C / (C - 1)$.

    Args:
        logits: (batch, classes).
        labels: Class ids (batch,).
        smoothing: The share $\epsilon$, 0 to 1; 0.1 as in the paper. A 0-D tensor may change during training.

    Returns:
        A scalar; its smallest value is the entropy of the smoothed labels.

    Raises:
        ValueError: The shapes do not go together, there is one class only, or the share is not between 0 and 1.
    """
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(f"logits must be of shape (batch, classes) and not empty, got shape {tuple(logits.shape)}")
    check_labels(logits, labels)
    check_smoothing(smoothing)
    log_probabilities = log_softmax(at_least_float32(logits), dim=1)
    true = log_probabilities.gather(1, labels[:, None]).mean()
    return -(1 - smoothing) * true - smoothing * log_probabilities.mean()


def check_smoothing(smoothing: float | Tensor) -> None:
    """Refuse a share outside of 0 to 1; a tensor is not read, since that would wait for the device.

    Raises:
        ValueError: The share is a number that is not between 0 and 1.
    """
    if not isinstance(smoothing, Tensor) and not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must be between 0 and 1, got {smoothing}")
