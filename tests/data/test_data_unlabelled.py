"""Images without labels join the labelled ones of a batch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published_formats import write_image

from understudy.data import PixelSplit, load_data, make_loader, read_unlabelled
from understudy.data.unlabelled import JoinedSplit
from understudy.errors import UserError
from understudy.types import Batch

CPU = torch.device("cpu")


@pytest.fixture
def extra() -> PixelSplit:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (20, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return PixelSplit(pixels, torch.full((20,), -1))


def batches(
    split: PixelSplit, extra: PixelSplit | None, epoch: int = 0, start: int = 0, **options: object
) -> list[Batch]:
    chosen = {"batch_size": 8, "augment": "crop-flip", "num_unlabelled": 6 if extra else 0, **options}
    loader = make_loader(split, size=16, train=True, device=CPU, unlabelled=extra, **chosen)  # type: ignore[arg-type]
    found = list(loader.batches(epoch, start))
    assert len(found) == len(loader) - start
    return found


@pytest.mark.parametrize("resident", [True, False])
def test_labelled_images_come_first_and_are_those_without_the_others(
    pixel_split: PixelSplit, extra: PixelSplit, resident: bool
) -> None:
    alone = batches(pixel_split, None, epoch=2, resident=resident)
    for found, expected in zip(batches(pixel_split, extra, epoch=2, resident=resident), alone, strict=True):
        assert found.label is not None
        assert expected.label is not None
        assert torch.equal(found.label, expected.label)
        assert len(found.image) == 14
        for field in ("image", "index", "view"):
            assert torch.equal(getattr(found, field)[:8], getattr(expected, field))


@pytest.mark.parametrize("resident", [True, False])
def test_unlabelled_images_are_indexed_behind_the_labelled_ones(
    pixel_split: PixelSplit, extra: PixelSplit, resident: bool
) -> None:
    for batch in batches(pixel_split, extra, augment="none", resident=resident):
        index = batch.index[8:]
        assert ((index >= 50) & (index < 70)).all()
        assert torch.equal(batch.image[8:], extra.pixels[index - 50])


def test_every_unlabelled_image_has_its_turn(pixel_split: PixelSplit, extra: PixelSplit) -> None:
    index = torch.cat([batch.index[8:] for batch in batches(pixel_split, extra)])
    # 6 steps of 6 images out of 20: one whole round, and a part of the next.
    counts = torch.bincount(index - 50, minlength=20)
    assert set(counts.tolist()) == {1, 2}
    other = torch.cat([batch.index[8:] for batch in batches(pixel_split, extra, epoch=1)])
    assert not torch.equal(index, other)


def test_resume_equals_straight(pixel_split: PixelSplit, extra: PixelSplit) -> None:
    straight = batches(pixel_split, extra, epoch=3)[2:]
    for one, other in zip(batches(pixel_split, extra, epoch=3, start=2), straight, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]


def test_ranks_share_both_parts(pixel_split: PixelSplit, extra: PixelSplit) -> None:
    whole = batches(pixel_split, extra)
    parts = [batches(pixel_split, extra, rank=rank, world=2) for rank in range(2)]
    for one, *both in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.label for part in both]), one.label)
        assert torch.equal(torch.cat([part.index[:4] for part in both]), one.index[:8])
        assert torch.equal(torch.cat([part.index[4:] for part in both]), one.index[8:])


def test_numbers_that_cannot_be_shared_are_refused(pixel_split: PixelSplit, extra: PixelSplit) -> None:
    for num in (0, 3):
        with pytest.raises(UserError, match=f"num_unlabelled {num}"):
            batches(pixel_split, extra, num_unlabelled=num, world=2)


def test_evaluation_has_labelled_images_only(pixel_split: PixelSplit, extra: PixelSplit) -> None:
    loader = make_loader(
        pixel_split, batch_size=8, size=16, train=False, device=CPU, unlabelled=extra, num_unlabelled=6
    )
    assert torch.equal(torch.cat([batch.index for batch in loader.batches(0)]), torch.arange(50))


def test_joined_split(pixel_split: PixelSplit, extra: PixelSplit) -> None:
    joined = JoinedSplit(pixel_split, extra)
    assert len(joined) == 70
    assert torch.equal(joined.read(49), pixel_split.pixels[49])
    assert torch.equal(joined.read(50), extra.pixels[0])
    part = joined.subset(torch.tensor([51, 3]))
    assert part.labels.tolist() == [3, -1]
    assert torch.equal(part.read(1), extra.pixels[1])
    assert joined.fingerprint() != JoinedSplit(pixel_split, extra.subset(torch.arange(19))).fingerprint()


def test_folders_of_any_depth_are_read_without_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(("b.png", "a.png", "ants/c.png", "ants/wasps/d.jpg")):
        write_image(tmp_path / name, seed=number)
    (tmp_path / "readme.txt").write_text("x")
    split = read_unlabelled(str(tmp_path))
    assert split.paths == ["a.png", "ants/c.png", "ants/wasps/d.jpg", "b.png"]
    assert split.labels.tolist() == [-1] * 4


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_unlabelled(str(tmp_path / "none"))
    with pytest.raises(UserError, match="no images in"):
        read_unlabelled(str(tmp_path))


def test_fingerprint_of_the_data_knows_the_unlabelled_images(extra: PixelSplit) -> None:
    data = load_data("digits")
    assert replace(data, unlabelled=extra).fingerprint() != data.fingerprint()
