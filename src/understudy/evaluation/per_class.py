"""How each class is recognised."""

from typing import NamedTuple

import torch

from understudy.evaluation.predictions import Predictions


class ClassScore(NamedTuple):
    """Scores of one class.

    Attributes:
        num_images: Images of the class.
        recall: Share of them that are called so; None without images.
        precision: Share of the images called so that are of the class; None where none is called so.
    """

    num_images: int
    recall: float | None
    precision: float | None


def per_class(predictions: Predictions) -> list[ClassScore]:
    """Recall and precision of each class, in the order of the logits."""
    num = predictions.logits.shape[1]
    called = predictions.logits.argmax(1)
    right = predictions.labels[called == predictions.labels]
    images, calls, hits = (torch.bincount(ids, minlength=num).tolist() for ids in (predictions.labels, called, right))
    return [
        ClassScore(count, hit / count if count else None, hit / call if call else None)
        for count, call, hit in zip(images, calls, hits, strict=True)
    ]
