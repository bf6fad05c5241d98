"""Calibration errors as functions of the labels and of how often each image counts.

With the labels as they are and each image once they are the errors. With images drawn anew they show how far another
sample might be off, with labels drawn from the model's own probabilities what a perfectly calibrated model would show.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

NUM_BINS = 15

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class BinnedError(Protocol):
    """A calibration error of samples of the images that it was made for."""

    def __call__(self, labels: Ints, counts: Floats) -> Floats:
        """The error of each sample.

        Args:
            labels: Class ids (samples or 1, images).
            counts: How often each image counts (samples or 1, images).

        Returns:
            (samples,), 0..1.
        """
        ...


def bin_of(values: NDArray[Any], num_bins: int) -> Ints:
    """Number of the bin (low, high] of equal width in 0..1 that each value lies in; 0 lies in the first."""
    # Not linspace, whose edges are not always the nearest number to k / num_bins.
    return np.searchsorted(np.arange(1, num_bins) / num_bins, values)


class EqualWidth:
    """|accuracy - confidence| of the top class in bins of equal width, weighted by their images (Guo et al. 2017).

    Args:
        probabilities: What the model says (images, classes).
        num_bins: 15 as in the paper.
    """

    def __init__(self, probabilities: Floats, num_bins: int = NUM_BINS) -> None:
        self.top, self.confidence = probabilities.argmax(1), probabilities.max(1)
        self.inside = np.eye(num_bins)[bin_of(self.confidence, num_bins)]

    def __call__(self, labels: Ints, counts: Floats) -> Floats:
        """See `BinnedError`."""
        gaps = counts * ((labels == self.top) - self.confidence)
        return np.abs(gaps @ self.inside).sum(1) / counts.sum(1)


class EqualMass:
    """|accuracy - confidence| of the top class in bins of equally many images (Nguyen and O'Connor, EMNLP 2015).

    Bins follow each other by confidence and hold the same number of images exactly: an image on an edge counts in both
    bins, in parts, and images of one confidence are spread evenly. So the order of the images does not matter.

    Args:
        probabilities: What the model says (images, classes).
        num_bins: Bins, 15 as of equal width.
    """

    def __init__(self, probabilities: Floats, num_bins: int = NUM_BINS) -> None:
        self.top, self.confidence = probabilities.argmax(1), probabilities.max(1)
        # Rounded, so that what differs by the rounding of a sum is equal.
        levels = self.confidence.round(12)
        self.order = levels.argsort()
        # The last image of each confidence.
        self.last = np.flatnonzero(np.diff(levels[self.order], append=np.inf))
        self.edges = np.arange(num_bins + 1) / num_bins

    def __call__(self, labels: Ints, counts: Floats) -> Floats:
        """See `BinnedError`."""
        gaps = counts * ((labels == self.top) - self.confidence)
        gap, mass = (self._summed(columns) for columns in (gaps, counts))
        mass = np.broadcast_to(mass, gap.shape)
        parts = [np.diff(np.interp(self.edges * m[-1], m, g)) for m, g in zip(mass, gap, strict=True)]
        return np.abs(parts).sum(1) / counts.sum(1)

    def _summed(self, values: Floats) -> Floats:
        """Sums up to each confidence, from 0 (samples, different confidences + 1)."""
        summed = np.zeros((len(values), values.shape[1] + 1))
        values.take(self.order, axis=1).cumsum(1, out=summed[:, 1:])
        return summed if len(self.last) == len(self.order) else summed[:, np.append(0, self.last + 1)]


class EachClass:
    """The mean over classes of |share of the class - its probability| in bins of equal width (Kull et al. 2019).

    Args:
        probabilities: What the model says (images, classes).
        num_bins: Bins, 15 as for the top class.
    """

    def __init__(self, probabilities: Floats, num_bins: int = NUM_BINS) -> None:
        self.probabilities, self.num_bins = probabilities, num_bins
        num_images, self.num_classes = probabilities.shape
        self.top = probabilities.argmax(1)
        self.place_of_top = self.top * num_bins + bin_of(probabilities.max(1), num_bins)
        # Nearly all probabilities lie in the first bin: the others are few, and the first is what they leave.
        image, of_class = np.nonzero(probabilities > 1 / num_bins)
        value = probabilities[image, of_class]
        place = of_class * num_bins + bin_of(value, num_bins)
        self.higher = csr_array((value, (image, place)), shape=(num_images, self.num_classes * num_bins))

    def __call__(self, labels: Ints, counts: Floats) -> Floats:
        """See `BinnedError`."""
        said = np.asarray(counts @ self.higher).reshape((len(counts), self.num_classes, self.num_bins))
        said[:, :, 0] = counts @ self.probabilities - said.sum(2)
        gaps = self._hits(labels, counts) - said
        return np.abs(gaps).sum((1, 2)) / counts.sum(1) / self.num_classes

    def _hits(self, labels: Ints, counts: Floats) -> Floats:
        """How many images of each class have the class's probability in each bin (samples, classes, bins)."""
        places, weights = np.broadcast_arrays(self._places(labels), counts)
        size = self.num_classes * self.num_bins
        hits = [np.bincount(p, weights=w, minlength=size) for p, w in zip(places, weights, strict=True)]
        return np.stack(hits).astype(np.float64).reshape((-1, self.num_classes, self.num_bins))

    def _places(self, labels: Ints) -> Ints:
        """Class and bin of the label of each image as one number (samples, images)."""
        places = np.broadcast_to(self.place_of_top, labels.shape).copy()
        # Mostly the few images where the model is wrong.
        sample, image = np.nonzero(labels != self.top)
        others = labels[sample, image]
        places[sample, image] = others * self.num_bins + bin_of(self.probabilities[image, others], self.num_bins)
        return places
