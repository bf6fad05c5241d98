"""Which logit of a model stands for which class."""

import numpy as np
import torch
from torch import Tensor

from understudy.evaluation.predictions import Predictions


def right_in_best_order(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """Whether a model is right as it is, and with its logits in the best order.

    The order is found on the first half of the images and tried on the second: with many classes and few images some
    order always fits the images that it was chosen for.

    Args:
        predictions: What it says about some images, in random order.

    Returns:
        For each image of the second half whether it is right as it is, and in that order; bool.
    """
    half = len(predictions.labels) // 2
    order = best_order(Predictions(predictions.logits[:half], predictions.labels[:half]))
    said, labels = predictions.logits[half:].argmax(1), predictions.labels[half:]
    return said == labels, said == order[labels]


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
