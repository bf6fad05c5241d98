"""The same batches however they are made."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published_formats import write_folder, write_image
from torch import Tensor

from understudy.data import Loader, PixelSplit, load_data, make_loader
from understudy.data.augment import make_augmentation
from understudy.data.decode import fit
from understudy.data.resident import ResidentLoader
from understudy.data.streaming import StreamingLoader
from understudy.errors import UserError
from understudy.types import Batch

CPU = torch.device("cpu")

Make = Callable[..., Loader]


@pytest.fixture(params=[True, False], ids=["resident", "streaming"])
def make(request: pytest.FixtureRequest, pixel_split: PixelSplit) -> Make:
    def build(**options: object) -> Loader:
        chosen = {"batch_size": 8, "train": True, "augment": "crop-flip", "resident": request.param, **options}
        return make_loader(pixel_split, size=16, device=CPU, **chosen)  # type: ignore[arg-type]

    return build


def joined(batches: list[Batch], field: str) -> Tensor:
    return torch.cat([getattr(batch, field) for batch in batches])


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]


def test_training_batches(make: Make, pixel_split: PixelSplit) -> None:
    loader = make()
    batches = list(loader.batches(3))
    assert len(batches) == len(loader) == 6
    for batch in batches:
        assert (batch.image.shape, batch.image.dtype) == ((8, 3, 16, 16), torch.uint8)
        assert (batch.view == 3).all()
        assert batch.label is not None
        assert torch.equal(batch.label, pixel_split.labels[batch.index])
    assert len(joined(batches, "index").unique()) == 48


def test_order_depends_on_epoch_and_seed(make: Make) -> None:
    first, again, epoch, seed = (
        joined(list(make(seed=seed).batches(number)), "index") for seed, number in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, epoch)
    assert not torch.equal(first, seed)


@pytest.mark.parametrize("start", [0, 1, 4, 6])
def test_resume_equals_straight(make: Make, start: int) -> None:
    assert_same(list(make().batches(2, start)), list(make().batches(2))[start:])


def test_epochs_of_one_loader(make: Make) -> None:
    loader = make()
    expected = [list(make().batches(epoch)) for epoch in (0, 1)]
    next(iter(loader.batches(5)))
    for epoch in (0, 1, 0):
        assert_same(list(loader.batches(epoch)), expected[epoch])


def shown(loader: Loader, epoch: int) -> tuple[Tensor, Tensor]:
    """Views and pixels of one epoch in the order of the split."""
    batches = list(loader.batches(epoch))
    order = joined(batches, "index").argsort()
    return joined(batches, "view")[order], joined(batches, "image")[order]


def test_views_repeat(make: Make) -> None:
    view, image = zip(*(shown(make(views=3, batch_size=50), epoch) for epoch in range(4)), strict=True)
    # Each image shows all of its views in turn, wherever it begins.
    assert torch.equal(torch.stack(view[:3]).sort(0).values, torch.arange(3).unsqueeze(1).expand(3, 50))
    assert torch.equal(view[0], view[3])
    assert torch.equal(image[0], image[3])
    assert not torch.equal(image[0], image[1])


def test_repeated_views_are_shared_by_seeds_but_begin_elsewhere(make: Make) -> None:
    seen = []
    for seed in (0, 1):
        pairs = [shown(make(views=2, batch_size=50, seed=seed), epoch) for epoch in (0, 1)]
        view, image = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        order = view.argsort(0)
        seen.append((view[0], image[order, torch.arange(50)]))
    assert torch.equal(seen[0][1], seen[1][1])
    assert not torch.equal(seen[0][0], seen[1][0])


def test_any_view_can_be_asked_for(make: Make) -> None:
    loader = make(seed=3)
    expected = list(loader.batches(2))
    found = list(loader.serve([(batch.view, batch.index) for batch in expected]))
    assert_same(found, expected)


def test_the_host_knows_what_is_in_a_batch(make: Make) -> None:
    for batch in make(views=2).batches(1):
        assert batch.host is not None
        assert torch.equal(batch.host, torch.stack([batch.view, batch.index]))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_each_batch(make: Make, world: int) -> None:
    parts = [list(make(rank=rank, world=world).batches(1)) for rank in range(world)]
    whole = [
        Batch(*(torch.cat(values, dim=-1 if values[0].ndim == 2 else 0) for values in zip(*step, strict=True)))  # type: ignore[arg-type]
        for step in zip(*parts, strict=True)
    ]
    assert_same(whole, list(make().batches(1)))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_evaluation_shards_partition_the_split(make: Make, pixel_split: PixelSplit, world: int) -> None:
    loaders = [make(train=False, rank=rank, world=world) for rank in range(world)]
    shards = [list(loader.batches(0)) for loader in loaders]
    assert [len(loader) for loader in loaders] == [len(shard) for shard in shards]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    batches = [batch for shard in shards for batch in shard]
    index = joined(batches, "index")
    assert torch.equal(index.sort().values, torch.arange(50))
    assert torch.equal(joined(batches, "image"), pixel_split.pixels[index])
    assert (joined(batches, "view") == -1).all()
    assert_same(list(loaders[0].batches(0, 1)), shards[0][1:])


def test_evaluation_is_in_order(make: Make) -> None:
    assert torch.equal(joined(list(make(train=False).batches(7)), "index"), torch.arange(50))


def test_small_split_is_one_batch(make: Make) -> None:
    batches = list(make(batch_size=64).batches(0))
    assert [len(batch.index) for batch in batches] == [50]


def test_empty_split(pixel_split: PixelSplit) -> None:
    nothing = pixel_split.subset(torch.arange(0))
    for resident in (True, False):
        loader = make_loader(nothing, batch_size=8, size=16, train=False, device=CPU, resident=resident)
        assert len(loader) == len(list(loader.batches(0))) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world": 3}, "batch_size 8 cannot be divided among 3"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"views": 0}, "views 0"),
        ({"augment": "crop-flop"}, "did you mean 'crop-flip'"),
        ({"batch_size": 100, "world": 100}, "50 training images"),
    ],
)
def test_wrong_options(make: Make, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)


@pytest.mark.parametrize("augment", ["crop-flip", "resized-crop"])
def test_workers_change_nothing(pixel_split: PixelSplit, augment: str) -> None:
    def batches(workers: int) -> list[list[Batch]]:
        loader = make_loader(
            pixel_split, batch_size=8, size=16, augment=augment, train=True, device=CPU, workers=workers, resident=False
        )
        # An epoch that is left early must not leak into the next.
        next(iter(loader.batches(5)))
        torch.manual_seed(0)
        state = torch.get_rng_state()
        epochs = [list(loader.batches(0)), list(loader.batches(1, 2))]
        assert torch.equal(torch.get_rng_state(), state)
        return epochs

    for one, other in zip(batches(0), batches(2), strict=True):
        assert_same(one, other)


def test_streamed_equals_resident(pixel_split: PixelSplit) -> None:
    both = [
        make_loader(pixel_split, batch_size=8, size=16, augment="crop-flip", train=True, device=CPU, resident=resident)
        for resident in (True, False)
    ]
    assert isinstance(both[0], ResidentLoader)
    assert isinstance(both[1], StreamingLoader)
    assert_same(*(list(loader.batches(2)) for loader in both))


@pytest.mark.parametrize(
    ("size", "augment", "resident"),
    [(16, "shift", True), (64, "none", True), (65, "none", False), (16, "randaugment", False)],
)
def test_what_is_resident(pixel_split: PixelSplit, size: int, augment: str, resident: bool) -> None:
    loader = make_loader(pixel_split, batch_size=8, size=size, augment=augment, train=True, device=CPU)
    assert isinstance(loader, ResidentLoader) is resident
    assert next(iter(loader.batches(0))).image.shape == (8, 3, size, size)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resident", [True, False])
def test_mixed_files(tmp_path: Path, channels: int, resident: bool) -> None:
    for number in range(10):
        mode, size = ("L", (40, 20)) if number < 5 else ("RGB", (16, 16))
        write_image(tmp_path / "ab"[number % 2] / f"{number}.png", seed=number, size=size, mode=mode)
    data = load_data(tmp_path)
    seen: list[tuple[int, int]] = []
    loader = make_loader(
        data.train,
        batch_size=4,
        size=16,
        channels=channels,
        train=False,
        device=CPU,
        resident=resident,
        progress=lambda *now: seen.append(now),
    )
    found = joined(list(loader.batches(0)), "image")
    assert found.shape == (len(data.train), channels, 16, 16)
    assert seen == ([(len(data.train),) * 2] if resident else [])
    if channels == 3:
        images = [data.train.read(index) for index in range(len(data.train))]
        fitting = [index for index, image in enumerate(images) if image.shape[-1] == 16]
        assert fitting
        assert torch.equal(found[fitting], torch.stack([images[index] for index in fitting]))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("resident", [True, False])
def test_broken_file_is_one_line(tmp_path: Path, resident: bool, workers: int) -> None:
    data = load_data(write_folder(tmp_path, ["train", "test"]))
    (tmp_path / "test" / "bees" / "3.png").write_bytes(b"broken")

    def serve() -> None:
        loader = make_loader(
            data.test, batch_size=4, size=16, channels=3, train=False, device=CPU, resident=resident, workers=workers
        )
        list(loader.batches(0))

    with pytest.raises(UserError, match=r"bees/3\.png") as caught:
        serve()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [24, 40, 64, 65, 80])
def test_streamed_images_are_framed_as_resident_ones(tmp_path: Path, size: int, train: bool) -> None:
    for number, shape in enumerate([(60, 90), (120, 70), (40, 40), (80, 80)] * 3):
        write_image(tmp_path / "ab"[number % 2] / f"{number}.png", seed=number, size=shape)
    split = load_data(tmp_path).train
    both = [
        make_loader(split, batch_size=4, size=size, augment="crop-flip", train=train, device=CPU, resident=resident)
        for resident in (True, False)
    ]
    assert_same(*(list(loader.batches(1)) for loader in both))


def test_photo_policies_frame_view_minus_one_alike() -> None:
    photo = torch.randint(0, 256, (1, 3, 60, 90), dtype=torch.uint8)
    index = torch.tensor([0])
    for size in (40, 80):
        plain = make_augmentation("resized-crop")(photo, index, view=index - 1, seed=0, size=size)
        assert torch.equal(plain[0], fit(photo[0], size))
