"""The largest logits of many, for teachers of thousands of classes."""

import torch
from torch import Tensor


def keep_largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    r"""The `count` largest logits, and one number for all others.

    That number is the logit that each of the others would need to have together the probability they have: the
    log-mean-exp $\log \frac{1}{C-k} \sum_{c \notin top} e^{z_c}$. At temperature 1 the kept classes have exactly
    their probabilities; at other temperatures the rest's share is that of equal logits, so it is an approximation.

    Args:
        logits: (batch, classes), more than `count` classes.
        count: How many to keep.

    Returns:
        Classes (batch, count), int64, and logits (batch, count + 1), the rest's last.
    """
    kept, classes = logits.topk(count, dim=1)
    others = logits.scatter(1, classes, -torch.inf)
    rest = others.logsumexp(1, keepdim=True) - torch.log(torch.tensor(float(logits.shape[1] - count)))
    return classes, torch.cat([kept, rest], 1)


def spread_rest(classes: Tensor, kept: Tensor, num_classes: int) -> Tensor:
    """The inverse of `keep_largest`, with one logit for all classes that were not kept.

    Args:
        classes: (batch, count), int64.
        kept: (batch, count + 1).
        num_classes: How many classes there are.

    Returns:
        Logits (batch, num_classes).
    """
    rest = kept[:, -1:].expand(-1, num_classes)
    return rest.scatter(1, classes, kept[:, :-1])
