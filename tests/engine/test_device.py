import random

import numpy as np
import pytest
import torch

from understudy.engine.device import choose_device, choose_precision, seed_everything
from understudy.errors import UserError


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu"])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"device={name} is not available here") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


def test_half_precision_is_asked_for_by_name() -> None:
    assert choose_precision("auto") == torch.float32
    assert choose_precision("bf16") == torch.bfloat16


def test_a_seed_repeats_all_random_numbers() -> None:
    def draw() -> tuple[float, ...]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    seed_everything(2**40 + 1)
    first = draw()
    seed_everything(2**40 + 1)
    assert draw() == first
    seed_everything(2)
    assert draw() != first
