"""Splits are stratified, disjoint, seeded, and know what they are made of."""

import weakref
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from published_formats import write_folder

from understudy.data import FileSplit, PixelSplit, load_data
from understudy.data.base import measure
from understudy.data.partition import arrange, stratified
from understudy.errors import UserError

LABELS = torch.cat([torch.full((num,), label) for label, num in enumerate([100, 50, 10, 3, 1])])


def test_parts_are_disjoint_and_complete() -> None:
    parts = stratified(LABELS, (0.1, 0.2), seed=0)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(LABELS)))
    assert all(torch.equal(part, part.sort().values) for part in parts)


def test_parts_are_stratified() -> None:
    counts = [LABELS[part].bincount(minlength=5).tolist() for part in stratified(LABELS, (0.1, 0.2), seed=0)]
    assert counts == [[70, 35, 7, 1, 1], [10, 5, 1, 1, 0], [20, 10, 2, 1, 0]]


def test_seed_chooses_the_parts() -> None:
    first, again, other = (stratified(LABELS, (0.2,), seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("num", range(1, 8))
def test_tiny_classes_keep_an_image_to_learn_from(num: int) -> None:
    parts = stratified(torch.zeros(num), (0.45, 0.45), seed=0)
    assert len(parts[0]) >= 1
    assert sum(map(len, parts)) == num


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (1.0,)])
def test_impossible_shares(shares: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="together below 1"):
        stratified(LABELS, shares, seed=0)


def test_nothing_to_select_with(pixel_split: PixelSplit) -> None:
    splits = arrange({"train": pixel_split, "test": pixel_split}, validation=0, test=0, seed=0)
    assert (len(splits.train), len(splits.val)) == (50, 0)
    assert isinstance(splits.val.fingerprint(), str)


def test_unknown_splits(pixel_split: PixelSplit) -> None:
    with pytest.raises(UserError, match="fold1"):
        arrange({"train": pixel_split, "fold1": pixel_split}, validation=0.1, test=0, seed=0)


def test_pixel_fingerprint(pixel_split: PixelSplit) -> None:
    pixels, labels = pixel_split.pixels.clone(), pixel_split.labels.clone()
    assert PixelSplit(pixels, labels).fingerprint() == pixel_split.fingerprint()
    pixels[3, 1, 4, 1] ^= 1
    assert PixelSplit(pixels, pixel_split.labels).fingerprint() != pixel_split.fingerprint()
    labels[0] = 4
    assert PixelSplit(pixel_split.pixels, labels).fingerprint() != pixel_split.fingerprint()


def test_file_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    here, there = (write_folder(tmp_path / name, ["train", "test"]) for name in ("here", "there"))
    fingerprint = load_data(here).fingerprint()
    assert load_data(there).fingerprint() == fingerprint
    file = there / "train" / "ants" / "0.png"
    file.write_bytes(file.read_bytes() + b"\0")
    assert load_data(there).fingerprint() != fingerprint


def test_data_fingerprint_of_one_pixel() -> None:
    data, again = load_data("digits"), load_data("digits")
    assert isinstance(again.test, PixelSplit)
    again.test.pixels[0, 0, 0, 0] ^= 1
    assert again.fingerprint() != data.fingerprint()


def test_sample_is_spread_over_the_split() -> None:
    pixels = (torch.arange(300) // 2).to(torch.uint8).view(300, 1, 1, 1)
    seen = [int(image) for image in PixelSplit(pixels, torch.zeros(300)).sample()]
    assert len(seen) == 256
    assert (seen[0], seen[-1]) == (0, 149)


def test_subset_of_files(tmp_path: Path) -> None:
    data = load_data(write_folder(tmp_path, ["train", "test"]))
    assert isinstance(data.test, FileSplit)
    part = data.test.subset(torch.tensor([13, 2]))
    assert part.labels.tolist() == [1, 0]
    assert torch.equal(part.read(0), data.test.read(13))


def test_file_fingerprint_sees_other_content_of_the_same_size(tmp_path: Path) -> None:
    data = load_data(write_folder(tmp_path, ["train", "test"]))
    before = data.fingerprint()
    file = tmp_path / "test" / "bees" / "0.png"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert data.fingerprint() != before


@pytest.mark.parametrize("other", ["valid", "validation"])
def test_two_validation_splits(pixel_split: PixelSplit, other: str) -> None:
    with pytest.raises(UserError, match=f"val and {other} both name"):
        arrange({"train": pixel_split, "val": pixel_split, other: pixel_split}, validation=0.1, test=0, seed=0)


class Counting(PixelSplit):
    """Hands out copies and knows how many of them are still there."""

    alive: ClassVar[weakref.WeakSet[torch.Tensor]] = weakref.WeakSet()
    most: ClassVar[int] = 0

    def read(self, index: int) -> torch.Tensor:
        image = super().read(index).clone()
        self.alive.add(image)
        type(self).most = max(self.most, len(self.alive))
        return image


def test_measuring_keeps_no_images(pixel_split: PixelSplit) -> None:
    found = measure(Counting(pixel_split.pixels, pixel_split.labels).sample())
    assert Counting.most <= 2
    assert (found.size, found.channels) == (16, 3)


def test_measured_over_all_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 9, 5), (1, 20, 4), (3, 1, 1), (1, 7, 7)]
    mixed = [torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for shape in shapes]
    for images, channels in ((mixed, 3), (mixed[1::2], 1)):
        found = measure(images)
        pixels = torch.cat([image.expand(channels, -1, -1).flatten(1) for image in images], 1).double() / 255
        assert (found.size, found.channels) == (None, channels)
        assert found.mean == pytest.approx(pixels.mean(1).tolist(), abs=5.1e-5)
        assert found.std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=5.1e-5)
