"""The handwritten digits that come with scikit-learn (Alpaydin and Kaynak, 1998)."""

import torch

from understudy.data.base import DATASETS, ImageData, describe
from understudy.data.partition import WHOLE, arrange
from understudy.data.splits import PixelSplit

MAX_GREY = 16


@DATASETS.register("digits")
def digits(*, validation: float = 0.2, test: float = 0.4, split_seed: int = 0) -> ImageData:
    """1,797 grey 8x8 images of handwritten digits; nothing is downloaded.

    The shares are ours: no split is published. Many images are left to report on, since few cannot show a
    difference of one point.

    Args:
        validation: Share of the images to select with.
        test: Share of the images to report on.
        split_seed: Chooses the images of the shares, independent of the seed of training.
    """
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(grey).mul(255 / MAX_GREY).round().to(torch.uint8).view(-1, 1, 8, 8)
    whole = PixelSplit(pixels, torch.from_numpy(labels))
    splits = arrange({WHOLE: whole}, validation=validation, test=test, seed=split_seed)
    return describe("digits", [str(digit) for digit in range(10)], splits=splits)
