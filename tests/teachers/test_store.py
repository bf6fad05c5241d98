"""The teacher's answers on disk: kept, checked, never wrong."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.teachers.store import DESCRIPTION, ROWS, Layout, TargetStore
from understudy.teachers.topk import keep_largest, spread_rest

NUM, CLASSES, VIEWS = 20, 7, 3


def make(path: Path, **changes: object) -> TargetStore:
    layout = Layout(NUM, {"logits": CLASSES})._replace(**changes)  # type: ignore[arg-type]
    store = TargetStore.create(path / "store", {"teacher": "t"}, layout)
    store.reserve(VIEWS)
    return store


def rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Views, images and logits of all rows in another order than that of the file."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(NUM * VIEWS, generator=generator)
    return order // NUM, order % NUM, torch.randn(len(order), CLASSES, generator=generator) * 5


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_what_is_read_is_what_was_written(tmp_path: Path, precision: str) -> None:
    store = make(tmp_path, precision=precision)
    view, index, logits = rows()
    store.write(view, index, {"logits": logits})
    found, there = TargetStore(store.path).read(view, index)
    assert there.all()
    if precision == "fp32":
        assert torch.equal(found["logits"], logits)
    # Half precision has 11 significant bits.
    assert ((found["logits"] - logits).abs() <= logits.abs() * 2.0**-11 + 2.0**-25).all()
    assert torch.equal(found["logits"], store.rounded({"logits": logits})["logits"])


def test_several_fields(tmp_path: Path) -> None:
    store = make(tmp_path, fields={"logits": CLASSES, "layer4": 3}, precision="fp32")
    view, index, logits = rows()
    values = {"logits": logits, "layer4": torch.randn(len(logits), 3)}
    store.write(view, index, values)
    found, _ = store.read(view, index)
    assert all(torch.equal(found[name], value) for name, value in values.items())


def test_rows_that_were_never_written_are_missing(tmp_path: Path) -> None:
    store = make(tmp_path)
    place = torch.tensor([0, 3, 5])
    store.write(torch.tensor([1, 1, 1]), place, {"logits": torch.zeros(3, CLASSES)})
    assert store.read(torch.ones(NUM, dtype=torch.int64), torch.arange(NUM))[1].nonzero().flatten().tolist() == [
        0,
        3,
        5,
    ]
    assert len(store.missing(1, torch.arange(NUM))) == NUM - 3
    assert not store.read(torch.tensor([-1, VIEWS]), torch.tensor([0, 0]))[1].any()
    assert store.count() == (VIEWS, 3, 0)


@pytest.mark.parametrize("byte", [0, 3, 4, 17])
def test_a_flipped_bit_is_found_and_mended(tmp_path: Path, byte: int) -> None:
    store = make(tmp_path)
    view, index, logits = rows()
    store.write(view, index, {"logits": logits})
    store.flush()
    size = store.layout.dtype().itemsize
    with (store.path / ROWS).open("r+b") as file:
        file.seek((NUM + 2) * size + byte)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 8]))
    damaged = TargetStore(store.path)
    assert damaged.missing(1, torch.arange(NUM)).tolist() == [2]
    assert damaged.count() == (VIEWS, NUM * VIEWS - 1, 1)
    place = (view == 1) & (index == 2)
    damaged.write(view[place], index[place], {"logits": logits[place]})
    assert damaged.count() == (VIEWS, NUM * VIEWS, 0)


def test_a_row_in_the_wrong_place_is_wrong(tmp_path: Path) -> None:
    store = make(tmp_path)
    store.write(*[torch.zeros(2, dtype=torch.int64), torch.arange(2)], {"logits": torch.randn(2, CLASSES)})
    store.flush()
    size = store.layout.dtype().itemsize
    content = (store.path / ROWS).read_bytes()
    (store.path / ROWS).write_bytes(content[size : 2 * size] + content[size:])
    assert 0 in TargetStore(store.path).missing(0, torch.arange(NUM))


def test_numbers_too_large_for_half_precision_are_not_kept(tmp_path: Path) -> None:
    store = make(tmp_path)
    logits = torch.tensor([[70000.0] * CLASSES, [1.0] * CLASSES])
    assert store.write(torch.zeros(2, dtype=torch.int64), torch.arange(2), {"logits": logits}) == 1
    assert store.read(torch.zeros(2, dtype=torch.int64), torch.arange(2))[1].tolist() == [False, True]
    assert torch.equal(store.rounded({"logits": logits})["logits"], logits)


def test_more_views_keep_the_old_ones(tmp_path: Path) -> None:
    store = make(tmp_path)
    view, index, logits = rows()
    store.write(view, index, {"logits": logits})
    other = TargetStore(store.path)
    other.reserve(2 * VIEWS)
    assert other.views == 2 * VIEWS
    assert other.read(view, index)[1].all()
    assert len(other.missing(VIEWS, torch.arange(NUM))) == NUM
    other.reserve(1)
    assert other.views == 2 * VIEWS


def test_clearing_forgets_everything(tmp_path: Path) -> None:
    store = make(tmp_path)
    view, index, logits = rows()
    store.write(view, index, {"logits": logits})
    store.clear()
    assert store.count() == (VIEWS, 0, 0)


def same(view: Tensor, index: Tensor) -> Tensor:
    """The same logits of each row, whoever computes them."""
    return torch.sin(torch.arange(CLASSES) + (view * NUM + index).unsqueeze(1).float())


def write_same(path: Path) -> None:
    store = TargetStore(path)
    view, index, _ = rows()
    for _ in range(50):
        store.write(view, index, {"logits": same(view, index)})
        found, there = store.read(view, index)
        assert torch.equal(found["logits"][there], store.rounded({"logits": same(view, index)})["logits"][there])


def test_two_writers_and_a_reader_see_right_rows_only(tmp_path: Path) -> None:
    store = make(tmp_path)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_same, args=(store.path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    view, index, _ = rows()
    expected = store.rounded({"logits": same(view, index)})["logits"]
    while any(writer.is_alive() for writer in writers):
        found, there = store.read(view, index)
        assert torch.equal(found["logits"][there], expected[there])
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert store.count() == (VIEWS, NUM * VIEWS, 0)


def test_a_store_that_may_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path)
    view, index, logits = rows()
    store.write(view, index, {"logits": logits})
    monkeypatch.setattr(os, "access", lambda *_: False)
    reader = TargetStore(store.path)
    reader.write(view, index, {"logits": logits + 1})
    reader.clear()
    reader.reserve(100)
    found, there = reader.read(view, index)
    assert there.all()
    assert torch.equal(found["logits"], store.rounded({"logits": logits})["logits"])


def test_other_files_and_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no cache"):
        TargetStore(tmp_path)
    store = make(tmp_path)
    description = json.loads((store.path / DESCRIPTION).read_text())
    (store.path / DESCRIPTION).write_text(json.dumps({**description, "version": 99}))
    with pytest.raises(UserError, match="format 99"):
        TargetStore(store.path)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    store = make(tmp_path)
    with pytest.raises(UserError, match="no room for"):
        store.reserve(1 << 50)


def test_topk_keeps_probabilities_at_temperature_one(tmp_path: Path) -> None:
    store = make(tmp_path, topk=3, precision="fp32")
    view, index, logits = rows()
    store.write(view, index, {"logits": logits})
    found, there = store.read(view, index)
    assert there.all()
    top = logits.topk(3, dim=1).indices
    exact, kept = logits.softmax(1), found["logits"].softmax(1)
    torch.testing.assert_close(kept.gather(1, top), exact.gather(1, top), rtol=1e-5, atol=1e-7)
    # The others share what is left alike.
    others = kept.scatter(1, top, 0.0)
    assert torch.allclose(others.amax(1) * (CLASSES - 3), 1 - exact.gather(1, top).sum(1), atol=1e-6)


def test_topk_of_equal_rest_is_exact() -> None:
    logits = torch.tensor([[5.0, 1.0, 1.0, 3.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(spread_rest(*keep_largest(logits, 2), 5), logits)
