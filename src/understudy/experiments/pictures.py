"""Images of the test split of a run, for people to look at."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.data import load_data
from understudy.errors import UserError
from understudy.experiments.networks import own_settings
from understudy.experiments.sections import DataSettings
from understudy.record import OBJECT, RunDirectory


def read_pictures(run: RunDirectory, indices: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """Pixels (height, width) of grey images, (height, width, 3) of others, by their place in the test split.

    Args:
        run: A run directory.
        indices: Places in its test split.

    Raises:
        UserError: The data are not there any more, are other data by now, or were handed over in Python.
    """
    chosen = run.read_config()["data"]
    if str(chosen["name"]).startswith(OBJECT):
        raise UserError("the data of this run were handed over in Python and are not on disk")
    data = load_data(chosen["name"], settings=own_settings(chosen, DataSettings))
    known = run.read_provenance().get("data", {}).get("fingerprint")
    if known is not None and known != data.fingerprint():
        raise UserError("the data have changed since the run")
    return {index: _as_array(data.test.read(index).numpy()) for index in indices}


def _as_array(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """From channels first to what an image library takes."""
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
