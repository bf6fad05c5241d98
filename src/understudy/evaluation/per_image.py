"""What each image adds to the scores that are means over images."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from understudy.evaluation.predictions import Predictions
from understudy.losses.virtual import virtual_teacher

# Probability of the label that the virtual teacher has, as distillistic monitors it.
VIRTUAL_CONFIDENCE = 0.9


def probabilities(predictions: Predictions) -> Tensor:
    """(images, classes), float64; equal logits of an image give equal probabilities to the last bit."""
    # torch takes other instructions for the last columns, and argmax would prefer them.
    logits = predictions.logits.double().numpy()
    said = np.exp(logits - logits.max(1, keepdims=True))
    said /= said.sum(1, keepdims=True)
    return torch.from_numpy(said)


def hits(predictions: Predictions, k: int = 1) -> Tensor:
    """Whether the label is among the k largest logits (images,), boolean; all are if there are at most k classes."""
    if k == 1:
        # Of equal logits the first, as everywhere else.
        return predictions.logits.argmax(1) == predictions.labels
    k = min(k, predictions.logits.shape[1])
    return (predictions.logits.topk(k, dim=1).indices == predictions.labels[:, None]).any(1)


def negative_log_likelihoods(predictions: Predictions) -> Tensor:
    """-log p(label) in nats (images,), float64."""
    return cross_entropy(predictions.logits.double(), predictions.labels, reduction="none")


def brier_scores(said: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of probabilities (images, classes) from the label, summed over classes (images,), 0..2."""
    image = torch.arange(len(said))
    distance = said.clone()
    distance[image, labels] -= 1
    return distance.square_().sum(1)


def entropies(said: Tensor) -> Tensor:
    """Entropy of probabilities (images, classes) in nats (images,), 0 to the logarithm of the number of classes."""
    return torch.special.entr(said).sum(1)


def virtual_divergences(predictions: Predictions) -> Tensor:
    """KL(virtual teacher || model) in nats (images,), float64; the teacher gives the label .9, the others the rest."""
    logits = predictions.logits.double()
    teacher = virtual_teacher(logits, predictions.labels, VIRTUAL_CONFIDENCE)
    return kl_div(log_softmax(logits, dim=1), teacher, reduction="none").sum(1)
