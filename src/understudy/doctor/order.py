"""Which logit of a model stands for which class."""

import numpy as np
import torch
from torch import Tensor

from understudy.evaluation.predictions import Predictions


def best_order(predictions: Predictions) -> Tensor:
    """The assignment of logits to classes with the most right answers (Hungarian method).

    Args:
        predictions: What a model says about some images.

    Returns:
        For each class the logit that stands for it (classes,), int64. Where nothing speaks against it, its own.
    """
    from scipy.optimize import linear_sum_assignment

    num = predictions.logits.shape[1]
    hits = np.zeros((num, num))
    np.add.at(hits, (predictions.labels.numpy(), predictions.logits.argmax(1).numpy()), 1)
    # Less than one image, so that it only decides where there is none.
    hits += 0.5 / num * np.eye(num)
    _, order = linear_sum_assignment(hits, maximize=True)
    return torch.from_numpy(order)
