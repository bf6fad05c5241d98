"""A teacher that is asked once."""

from pathlib import Path

import pytest
import torch
from toys import random_batch, small_network

from understudy.teachers import Teacher
from understudy.teachers.cached import LOGITS, CachedTeacher
from understudy.teachers.store import Layout, Precision, TargetStore
from understudy.types import Batch, Outputs

NUM = 12


class Counting(Teacher):
    """A teacher that counts its images."""

    images = 0

    def forward(self, batch: Batch) -> Outputs:
        self.images += len(batch.image)
        return super().forward(batch)


def batch() -> Batch:
    made = random_batch(NUM)
    return made._replace(view=torch.arange(NUM) % 2)


def cached(path: Path, precision: Precision = "fp32", *, taps: tuple[str, ...] = ()) -> CachedTeacher:
    teacher = Counting(small_network(), taps=taps, chunk=4)
    fields = {LOGITS: 3} | ({"flatten": 16} if taps else {})
    store = TargetStore.create(path / "store", {}, Layout(NUM, fields, precision))
    store.reserve(2)
    return CachedTeacher(teacher, store)


def test_cached_equals_live_exactly(tmp_path: Path) -> None:
    source = cached(tmp_path, taps=("flatten",))
    live = source.teacher(batch())
    for _ in range(2):
        found = source(batch())
        assert torch.equal(found.logits, live.logits)
        assert torch.equal(found.features["flatten"], live.features["flatten"])
    assert source.asked == NUM


def test_a_cold_cache_says_what_a_warm_one_says(tmp_path: Path) -> None:
    source = cached(tmp_path, "fp16")
    cold, warm = source(batch()).logits, source(batch()).logits
    assert torch.equal(cold, warm)
    live = source.teacher(batch()).logits
    assert not torch.equal(warm, live)
    assert ((warm - live).abs() <= live.abs() * 2.0**-11 + 2.0**-25).all()


def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    source = cached(tmp_path)
    whole = source.teacher(batch()).logits
    source(batch().rows(torch.tensor([1, 4, 7])))
    teacher = source.teacher
    assert isinstance(teacher, Counting)
    teacher.images = 0
    assert torch.equal(source(batch()).logits, whole)
    assert teacher.images == NUM - 3


def test_images_without_augmentation_are_not_kept(tmp_path: Path) -> None:
    source = cached(tmp_path)
    plain = random_batch(NUM)
    assert torch.equal(source(plain).logits, source.teacher(plain).logits)
    assert source.store.count().filled == 0


def test_another_process_finds_the_answers(tmp_path: Path) -> None:
    first = cached(tmp_path)
    expected = first(batch()).logits
    again = cached(tmp_path)
    assert torch.equal(again(batch()).logits, expected)
    assert again.asked == 0


def test_targets_have_no_graph_and_stay_out_of_training(tmp_path: Path) -> None:
    source = cached(tmp_path)
    assert not source(batch()).logits.requires_grad
    assert not source.train().teacher.training


def test_labels_of_part_of_a_batch() -> None:
    made = batch()
    assert made.label is not None
    half = made._replace(label=made.label[:6])
    part = half.rows(torch.tensor([2, 5, 6, 11]))
    assert part.label is not None
    assert torch.equal(part.label, made.label[[2, 5]])
    assert part.index.tolist() == [2, 5, 6, 11]
    with pytest.raises(IndexError):
        half.rows(torch.tensor([NUM]))
