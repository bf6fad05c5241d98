"""Other samples of a split: other images, or other labels."""

from collections.abc import Iterator

import numpy as np

from understudy.evaluation.binning import Floats, Ints

NUM_SAMPLES = 500
# The ends of what holds 95 % of them.
ENDS = (0.025, 0.975)
# Numbers in memory at once.
CHUNK = 2_000_000


def resampled_counts(num_images: int, num_samples: int, seed: int) -> Iterator[Floats]:
    """How often each image is in each sample of as many images, drawn with replacement (some samples, images)."""
    random = np.random.default_rng([seed, 0])
    for rows in _chunks(num_samples, num_images):
        drawn = random.integers(num_images, size=(rows, num_images)) + num_images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * num_images)
        yield counts.reshape(rows, num_images).astype(np.float64)


def drawn_labels(said: Floats, num_samples: int, seed: int) -> Iterator[Ints]:
    """Labels that are as likely as the probabilities `said` (images, classes) say (some samples, images)."""
    random = np.random.default_rng([seed, 1])
    num_images, num_classes = said.shape
    top, confidence = said.argmax(1), said.max(1)
    others = said.copy()
    others[np.arange(num_images), top] = 0
    # One sorted row of all images, so that one search finds all labels; each image takes the numbers up to the next.
    steps = (others.cumsum(1) + np.arange(num_images)[:, None]).ravel()
    for rows in _chunks(num_samples, num_images):
        drawn = random.random((rows, num_images)) - confidence
        labels = np.broadcast_to(top, drawn.shape).copy()
        # Most draws give the top class and need no search.
        sample, image = np.nonzero(drawn >= 0)
        found = np.searchsorted(steps, drawn[sample, image] + image, side="right") - image * num_classes
        # Rounding may put a draw beyond the last class.
        labels[sample, image] = found.clip(0, num_classes - 1)
        yield labels


def _chunks(num_samples: int, num_images: int) -> Iterator[int]:
    size = max(1, CHUNK // num_images)
    for start in range(0, num_samples, size):
        yield min(size, num_samples - start)
