"""What each image adds to the scores that are means over images."""

import torch
from scipy.special import softmax
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from understudy.evaluation.predictions import Predictions


def probabilities(predictions: Predictions) -> Tensor:
    """(images, classes), float64; equal logits of an image give equal probabilities to the last bit."""
    return torch.from_numpy(softmax(predictions.logits.double().numpy(), axis=1))


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


def brier_scores(predictions: Predictions) -> Tensor:
    """Squared distance of the probabilities from the label, summed over classes (images,), 0..2."""
    target = one_hot(predictions.labels, predictions.logits.shape[1])
    return (probabilities(predictions) - target).square().sum(1)


def entropies(predictions: Predictions) -> Tensor:
    """Entropy of the probabilities in nats (images,), 0 to the logarithm of the number of classes."""
    return torch.special.entr(probabilities(predictions)).sum(1)


def confidences(predictions: Predictions) -> Tensor:
    """The largest probability (images,), 1/classes to 1."""
    return probabilities(predictions).amax(1)
