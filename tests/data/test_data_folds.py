import pytest
import torch
from torch import Tensor

from understudy.data import ImageData, PixelSplit, load_data
from understudy.data.folds import PickedSplit, k_folds, on_fold
from understudy.errors import UserError


@pytest.mark.parametrize("num_folds", [2, 3, 7])
def test_folds_partition_the_images_evenly_in_every_class(num_folds: int) -> None:
    labels = torch.randint(4, (101,), generator=torch.Generator().manual_seed(0))
    parts = k_folds(labels, num_folds, seed=3)
    assert torch.cat(parts).sort().values.tolist() == list(range(101))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for label in range(4):
        counts = [int((labels[part] == label).sum()) for part in parts]
        assert max(counts) - min(counts) <= 1


def test_folds_depend_on_their_seed_alone() -> None:
    labels = torch.arange(60) % 5
    first, again, other = (k_folds(labels, 5, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("num_folds", [1, 11])
def test_folds_need_images(num_folds: int) -> None:
    with pytest.raises(UserError, match=f"folds={num_folds}"):
        k_folds(torch.zeros(10), num_folds, seed=0)


def images_of(split: PickedSplit | PixelSplit) -> list[tuple[int, ...]]:
    return sorted((*split.read(place).flatten().tolist(), int(split.labels[place])) for place in range(len(split)))


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits")


def test_every_image_validates_in_one_fold_and_the_test_split_stays(digits: ImageData) -> None:
    folds = [on_fold(digits, fold, num_folds=3, seed=0) for fold in (1, 2, 3)]
    everything = sorted(images_of(digits.train) + images_of(digits.val))
    assert sorted(image for data in folds for image in images_of(data.val)) == everything
    for data in folds:
        assert sorted(images_of(data.train) + images_of(data.val)) == everything
        assert data.test is digits.test
        assert (data.mean, data.std) == (digits.mean, digits.std)
        assert data.fingerprint() != digits.fingerprint()
    assert len({data.fingerprint() for data in folds}) == 3
    assert len({data.train.version() for data in folds}) == 3


@pytest.mark.parametrize("fold", [0, 4])
def test_there_are_so_many_folds(fold: int, digits: ImageData) -> None:
    with pytest.raises(UserError, match=f"fold={fold}"):
        on_fold(digits, fold, num_folds=3, seed=0)


def pixels(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1)


def test_picked_images_come_from_their_parts() -> None:
    split = PickedSplit(
        [PixelSplit(pixels(1, 2, 3), torch.tensor([0, 1, 2])), PixelSplit(pixels(9), torch.tensor([5]))]
    )
    assert [int(split.read(place)) for place in range(4)] == [1, 2, 3, 9]
    picked = split.subset(torch.tensor([3, 0, 2])).subset(torch.tensor([0, 2]))
    assert [int(picked.read(place)) for place in range(2)] == [9, 3]
    assert picked.labels.tolist() == [5, 2]
    assert picked.fingerprint() != split.fingerprint()
