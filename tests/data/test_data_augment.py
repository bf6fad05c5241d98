"""Every policy is a pure function of (seed, view, index)."""

import pytest
import torch
from torch import Tensor

from understudy.data import AUGMENTATIONS
from understudy.data.augment import CropFlip, Shift, make_augmentation
from understudy.errors import UserError

SIZE = 16
NAMES = AUGMENTATIONS.names()


def images(num: int = 12, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (num, channels, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def augmented(name: str, pixels: Tensor, index: Tensor, view: Tensor, seed: int = 0) -> Tensor:
    return AUGMENTATIONS.get(name)()(pixels, index, view=view, seed=seed, size=SIZE)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_replay_in_any_batch(name: str, channels: int) -> None:
    pixels, index, view = images(channels=channels), torch.arange(12) * 7, torch.arange(12) % 4
    before = pixels.clone()
    torch.manual_seed(0)
    whole = augmented(name, pixels, index, view)
    state = torch.get_rng_state()
    assert (whole.dtype, whole.shape) == (torch.uint8, pixels.shape)
    order = torch.randperm(12)
    assert torch.equal(augmented(name, pixels[order], index[order], view[order]), whole[order])
    alone = [augmented(name, *(part[i : i + 1] for part in (pixels, index, view))) for i in range(12)]
    assert torch.equal(torch.cat(alone), whole)
    assert torch.equal(pixels, before)
    # Nothing is taken from the global random state.
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"none"}))
def test_seed_view_and_index_matter(name: str) -> None:
    pixels, index, view = images(), torch.arange(12), torch.zeros(12, dtype=torch.int64)
    first = augmented(name, pixels, index, view)
    assert not torch.equal(first, augmented(name, pixels, index, view, seed=1))
    assert not torch.equal(first, augmented(name, pixels, index, view + 1))
    assert not torch.equal(first, augmented(name, pixels, index + 1, view))


@pytest.mark.parametrize("name", NAMES)
def test_view_minus_one_is_the_image(name: str) -> None:
    pixels, index = images(), torch.arange(12)
    assert torch.equal(augmented(name, pixels, index, torch.full_like(index, -1)), pixels)


def slow_crop_flip(image: Tensor, pad: int, row: int, column: int, mirrored: bool) -> Tensor:
    canvas = torch.zeros(image.shape[0], SIZE + 2 * pad, SIZE + 2 * pad, dtype=torch.uint8)
    canvas[:, pad : pad + SIZE, pad : pad + SIZE] = image
    window = canvas[:, row : row + SIZE, column : column + SIZE]
    return window.flip(2) if mirrored else window


def test_crop_flip_draws_every_window() -> None:
    num, pad = 3000, 2
    image = images(1)
    found = CropFlip(pad=pad)(
        image.expand(num, -1, -1, -1), torch.arange(num), view=torch.zeros(num).long(), seed=0, size=SIZE
    )
    windows = [
        slow_crop_flip(image[0], pad, row, column, mirrored)
        for row in range(5)
        for column in range(5)
        for mirrored in (False, True)
    ]
    counts = torch.stack([(found == window).flatten(1).all(1).sum() for window in windows])
    # 50 windows, 60 times each: all of them and nothing else.
    assert counts.sum() == num
    assert counts.min() > 25
    assert counts.max() < 105


def test_shift_moves_by_at_most_one() -> None:
    num = 900
    image = images(1, channels=1)
    found = Shift()(image.expand(num, -1, -1, -1), torch.arange(num), view=torch.zeros(num).long(), seed=0, size=SIZE)
    windows = [slow_crop_flip(image[0], 1, row, column, False) for row in range(3) for column in range(3)]
    counts = torch.stack([(found == window).flatten(1).all(1).sum() for window in windows])
    assert counts.sum() == num
    assert counts.min() > 60


def test_reflection_is_that_of_torch() -> None:
    pixels, index = images(), torch.arange(12)
    view = torch.zeros_like(index)
    padded = torch.nn.functional.pad(pixels.float(), (3,) * 4, mode="reflect").byte()
    found = CropFlip(pad=3, padding_mode="reflect")(pixels, index, view=view, seed=0, size=SIZE)
    windows = padded.unfold(2, SIZE, 1).unfold(3, SIZE, 1).flatten(2, 3)
    both = torch.cat([windows, windows.flip(-1)], 2)
    assert (both == found.unsqueeze(2)).all(-1).all(-1).all(1).any(1).all()


def test_wrong_padding() -> None:
    with pytest.raises(UserError, match="choose zero or reflect"):
        CropFlip(padding_mode="mirror")  # type: ignore[arg-type]
    index = torch.arange(2)
    with pytest.raises(UserError, match="lower pad"):
        CropFlip(pad=16, padding_mode="reflect")(images(2), index, view=index, seed=0, size=SIZE)


@pytest.mark.parametrize("name", [name for name in NAMES if getattr(AUGMENTATIONS.get(name), "frames_itself", False)])
def test_photographs_of_any_size(name: str) -> None:
    photo = torch.randint(0, 256, (1, 3, 50, 37), dtype=torch.uint8)
    index = torch.tensor([4])
    found = AUGMENTATIONS.get(name)()(photo, index, view=index, seed=0, size=24)
    assert found.shape == (1, 3, 24, 24)
    plain = AUGMENTATIONS.get(name)()(photo, index, view=torch.tensor([-1]), seed=0, size=24)
    assert plain.shape == (1, 3, 24, 24)


def test_mean_brightness_survives_slight_jitter() -> None:
    grey = torch.full((20, 3, SIZE, SIZE), 100, dtype=torch.uint8)
    index = torch.arange(20)
    found = AUGMENTATIONS.get("imagewoof")()(grey, index, view=index, seed=0, size=SIZE)
    middle = found[:, :, 6:10, 6:10].float()
    assert 88 < middle.min() <= middle.max() < 112
    assert middle.flatten(1).mean(1).std() > 0.5


def test_settings_of_a_policy() -> None:
    assert make_augmentation({"name": "crop-flip", "pad": 2}) == CropFlip(pad=2)
    assert make_augmentation("shift") == Shift()
    photo = make_augmentation({"name": "imagewoof", "translate": [0, 0.2], "degrees": 1})
    index = torch.tensor([0])
    assert photo(images(1), index, view=index, seed=0, size=SIZE).shape == (1, 3, SIZE, SIZE)
    assert make_augmentation(photo) is photo


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"name": "crop-flip", "pda": 2}, "unknown key 'data.augment.pda': did you mean 'pad'"),
        ({"name": "crop-flip", "pad": "two"}, "data.augment.pad='two' is not valid"),
        ({"name": "crop-flop"}, "did you mean 'crop-flip'"),
        ({"pad": 2}, "needs a name"),
    ],
)
def test_wrong_settings_of_a_policy(chosen: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_augmentation(chosen)
