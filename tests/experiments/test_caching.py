"""A run that asks its teacher once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from child_processes import run_pair
from PIL import Image
from torch import nn

from understudy.errors import UserError
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.caches import find_caches, prune_caches, verify_caches
from understudy.experiments.caching import build_cache, make_source, target_key
from understudy.experiments.run import run
from understudy.experiments.settings import RunSettings, resolve
from understudy.record import RunDirectory, read_lines
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.store import ROWS, TargetStore

Digits = Callable[..., dict[str, Any]]


def settings(teacher_run: Path, folder: Path, **changes: object) -> RunSettings:
    chosen: dict[str, object] = {
        "data": "digits",
        "teacher": str(teacher_run),
        "student": "cnn-xs",
        "device": "cpu",
        "train__epochs": 4,
        "data__views": 2,
        "data__augment": "shift",
        "cache__path": str(folder / "cache"),
        "out": str(folder / "run"),
        **changes,
    }
    return resolve("distill", [], [(key.replace("__", "."), value) for key, value in chosen.items()])


def source_of(made: Assembly) -> Any:
    assert made.teacher is not None
    return make_source(made, made.train_loader(), made.teacher(made.sample()), lambda line: None)


def key_of(made: Assembly) -> dict[str, Any]:
    return target_key(made, made.train_loader())


def losses(run: Path) -> list[float]:
    return [line["train.loss"] for line in read_lines(RunDirectory(run).metrics) if line["kind"] == "epoch"]


@pytest.mark.parametrize("fill", ["along", "ahead"])
def test_cached_equals_live_in_full_precision(digits: Digits, teacher_run: Path, tmp_path: Path, fill: str) -> None:
    common = {"teacher": str(teacher_run), "train__epochs": 3, "data__views": 2, "data__augment": "shift"}
    live = digits("distill", tmp_path / "live", cache="off", **common)
    cached = digits("distill", tmp_path / fill, cache__precision="fp32", cache__fill=fill, **common)
    assert cached["test"] == live["test"]
    assert losses(tmp_path / fill) == losses(tmp_path / "live")
    (found,) = find_caches(tmp_path / "cache")
    assert TargetStore(found.path).count().filled > 0


def test_a_second_run_asks_nothing_and_sees_the_same(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    common = {
        "teacher": str(teacher_run),
        "train__epochs": 3,
        "data__views": 2,
        "data__augment": "shift",
        "cache__fill": "ahead",
    }
    first = digits("distill", tmp_path / "cold", **common)
    before = (find_caches(tmp_path / "cache")[0].path / ROWS).read_bytes()
    second = digits("distill", tmp_path / "warm", **common)
    assert second["test"] == first["test"]
    assert losses(tmp_path / "warm") == losses(tmp_path / "cold")
    # Another method, temperature and seed find everything there.
    digits("distill", tmp_path / "dkd", **common, method="dkd", seed=5)
    (found,) = find_caches(tmp_path / "cache")
    assert (found.path / ROWS).read_bytes() == before


def test_an_interrupted_fill_goes_on(teacher_run: Path, tmp_path: Path) -> None:
    made = assemble(settings(teacher_run, tmp_path))
    source = source_of(made)
    assert isinstance(source, CachedTeacher)
    batch = next(iter(made.train_loader().batches(0)))
    source(batch)
    said: list[str] = []
    path = build_cache(settings(teacher_run, tmp_path), say=said.append)
    count = TargetStore(path).count()
    assert count == (2, 2 * len(made.data.train), 0)
    assert f"asked the teacher for {count.filled - len(batch.image):,} targets" in said[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data__augment", "none"),
        ("data__augment", {"name": "shift", "pad": 2}),
        ("train__precision", "bf16"),
        ("data__validation", 0.1),
    ],
)
def test_what_changes_the_answers_changes_the_cache(
    teacher_run: Path, tmp_path: Path, name: str, value: object
) -> None:
    both: list[dict[str, object]] = [{}, {name: value}]
    keys = [key_of(assemble(settings(teacher_run, tmp_path, **chosen))) for chosen in both]
    assert keys[0] != keys[1]


def test_other_weights_and_temperatures_are_another_teacher(teacher_run: Path, tmp_path: Path) -> None:
    made = assemble(settings(teacher_run, tmp_path))
    before = key_of(made)
    assert key_of(assemble(settings(teacher_run, tmp_path, student="cnn-s", seed=4, method="dist"))) == before
    assert made.teacher is not None
    next(iter(made.teacher.parameters())).data.flatten()[0] += 1e-3
    assert key_of(made) != before


def test_fresh_views_belong_to_a_seed(teacher_run: Path, tmp_path: Path) -> None:
    chosen = {"data__views": None, "cache": "on"}
    keys = [key_of(assemble(settings(teacher_run, tmp_path, seed=seed, **chosen))) for seed in (0, 1)]
    assert keys[0] != keys[1]


def test_answers_of_changed_code_are_found_and_thrown_away(teacher_run: Path, tmp_path: Path) -> None:
    path = build_cache(settings(teacher_run, tmp_path), say=lambda line: None)
    store = TargetStore(path)
    view, index = torch.zeros(719, dtype=torch.int64), torch.arange(719)
    found, _ = store.read(view, index)
    # Rows with right checksums that say something else, as a changed augmentation would leave behind.
    store.write(view, index, {"logits": found["logits"].roll(1, 0)})
    made = assemble(settings(teacher_run, tmp_path))
    said: list[str] = []
    assert made.teacher is not None
    make_source(made, made.train_loader(), made.teacher(made.sample()), said.append)
    assert "answers of other code" in said[-1]
    assert TargetStore(path).count().filled == 0


def test_a_damaged_row_is_asked_for_again(teacher_run: Path, tmp_path: Path) -> None:
    path = build_cache(settings(teacher_run, tmp_path), say=lambda line: None)
    before = (path / ROWS).read_bytes()
    (path / ROWS).write_bytes(before[:100] + bytes([before[100] ^ 1]) + before[101:])
    ((_, count),) = verify_caches(path.parent)
    assert count is not None
    assert count.damaged == 1
    build_cache(settings(teacher_run, tmp_path), say=lambda line: None)
    assert (path / ROWS).read_bytes() == before


def test_methods_that_read_maps_are_not_cached(teacher_run: Path, tmp_path: Path) -> None:
    made = assemble(settings(teacher_run, tmp_path, method="at"))
    assert not isinstance(source_of(made), CachedTeacher)
    with pytest.raises(UserError, match=r"cache=on is not possible: a method reads whole maps"):
        source_of(assemble(settings(teacher_run, tmp_path, method="at", cache="on")))


def test_pooled_features_are_cached(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    common = {
        "teacher": str(teacher_run),
        "train__epochs": 3,
        "data__views": 2,
        "data__augment": "shift",
        "method": ["kd", "rkd"],
    }
    live = digits("distill", tmp_path / "live", cache="off", **common)
    cached = digits("distill", tmp_path / "cached", cache__precision="fp32", **common)
    assert cached["test"] == live["test"]
    (found,) = find_caches(tmp_path / "cache")
    assert len(TargetStore(found.path).layout.fields) == 2


def test_no_cache_where_no_view_comes_again(teacher_run: Path, tmp_path: Path) -> None:
    for changes in ({"data__views": None}, {"data__views": 4}, {"cache": "off"}):
        assert not isinstance(source_of(assemble(settings(teacher_run, tmp_path, **changes))), CachedTeacher)
    assert isinstance(source_of(assemble(settings(teacher_run, tmp_path, data__augment="none"))), CachedTeacher)


def test_too_many_kept_logits_are_refused(teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cache\.topk=10 must be less than the 10 classes"):
        source_of(assemble(settings(teacher_run, tmp_path, cache__topk=10)))


def test_unlabelled_images_are_cached_too(
    digits: Digits, teacher_run: Path, tmp_path: Path, image_folder: Path
) -> None:
    digits(
        "distill", tmp_path / "run", teacher=str(teacher_run), data__unlabelled=str(image_folder), train__epochs=3,
        data__views=1, method="kd",
    )  # fmt: skip
    (found,) = find_caches(tmp_path / "cache")
    store = TargetStore(found.path)
    assert store.layout.num_images == 719 + 30
    assert not len(store.missing(0, torch.arange(719, 749)))


def test_caches_are_listed_and_pruned(teacher_run: Path, tmp_path: Path) -> None:
    path = build_cache(settings(teacher_run, tmp_path), say=lambda line: None)
    (found,) = find_caches(tmp_path / "cache")
    assert (found.path, found.about["data"], found.problem) == (path, "digits", None)
    assert found.num_bytes >= 719 * 2 * 24
    assert prune_caches(tmp_path / "cache", days=30) == []
    assert len(prune_caches(tmp_path / "cache", days=0, dry_run=True)) == 1
    assert path.exists()
    (path / "description.json").write_text(json.dumps({"version": 99}))
    assert find_caches(tmp_path / "cache")[0].problem is not None
    assert len(prune_caches(tmp_path / "cache", days=30)) == 1
    assert not path.exists()
    with pytest.raises(UserError, match="no caches in"):
        find_caches(tmp_path / "nowhere")


def build_in_pair(chosen: RunSettings) -> None:
    from understudy.engine.distributed import join, leave

    build_cache(chosen, world=join("cpu"), say=lambda line: None)
    leave()


def test_two_processes_build_what_one_does(teacher_run: Path, tmp_path: Path) -> None:
    path = build_cache(settings(teacher_run, tmp_path / "one"), say=lambda line: None)
    run_pair(build_in_pair, settings(teacher_run, tmp_path / "two"))
    (found,) = find_caches(tmp_path / "two" / "cache")
    assert found.path.name == path.name
    assert (found.path / ROWS).read_bytes() == (path / ROWS).read_bytes()


def test_changed_images_are_another_cache(teacher_run: Path, tmp_path: Path, image_folder: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(image_folder, folder)
    for resident in (True, False):
        # A policy that cuts out its own crops streams.
        pairs = {"data": str(folder), "data.size": 16, "data.augment": "none" if resident else "resized-crop"}
        keys = []
        for _ in range(2):
            student = {"student": "cnn-xs", "teacher": "cnn-s", "teacher.allow_untrained": True, "device": "cpu"}
            made = assemble(resolve("distill", [], [*student.items(), *pairs.items()]))
            keys.append(key_of(made))
            for path in sorted(folder.rglob("*.png")):
                Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
        assert keys[0]["teacher"] == keys[1]["teacher"]
        assert keys[0] != keys[1]


def test_stale_rows_are_found_wherever_they_are(teacher_run: Path, tmp_path: Path) -> None:
    path = build_cache(settings(teacher_run, tmp_path, data__views=3), say=lambda line: None)
    store = TargetStore(path)
    store.clear()
    index = torch.arange(100, 140)
    store.write(torch.full_like(index, 2), index, {"logits": torch.randn(40, 10) * 9})
    made = assemble(settings(teacher_run, tmp_path, data__views=3))
    said: list[str] = []
    assert made.teacher is not None
    make_source(made, made.train_loader(), made.teacher(made.sample()), said.append)
    assert "built anew" in said[-1]


def test_a_stale_store_that_may_only_be_read_is_not_used(
    teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build_cache(settings(teacher_run, tmp_path), say=lambda line: None)
    store = TargetStore(path)
    index = torch.arange(719)
    for view in range(2):
        store.write(torch.full_like(index, view), index, {"logits": torch.randn(719, 10)})
    monkeypatch.setattr("understudy.teachers.store.os.access", lambda *_: False)
    made = assemble(settings(teacher_run, tmp_path))
    assert not isinstance(source_of(made), CachedTeacher)


@pytest.mark.parametrize("damage", ["rows", "description.json", "layout"])
def test_a_broken_store_is_made_anew(teacher_run: Path, tmp_path: Path, damage: str) -> None:
    path = build_cache(settings(teacher_run, tmp_path), say=lambda line: None)
    before = (path / ROWS).read_bytes()
    if damage == "layout":
        (path / "description.json").write_text(json.dumps({"version": 1, "key": {}}))
    else:
        (path / damage).unlink()
    assert build_cache(settings(teacher_run, tmp_path), say=lambda line: None) == path
    assert (path / ROWS).read_bytes() == before


def test_another_place_for_the_cache_is_the_same_run(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    common = {"teacher": str(teacher_run), "data__views": 1, "train__epochs": 2}
    first = digits("distill", tmp_path / "run", **common)
    assert digits("distill", tmp_path / "run", **common, cache__path="elsewhere", cache__fill="ahead") == first


def test_a_run_says_how_often_it_asked(teacher_run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run(settings(teacher_run, tmp_path, train__optimizer__lr=0.01), say=said.append)
    assert any(line.startswith("cache: the teacher was asked for 1,4") for line in said), said


def test_answers_that_depend_on_the_batch_are_not_cached(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU())
    network = nn.Sequential(*network, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    chosen = {"data": "digits", "student": "cnn-xs", "teacher": "object:teacher", "cache": "on", "device": "cpu"}
    made = assemble(resolve("distill", [], list(chosen.items())), given=Given(teacher=network))
    with pytest.raises(UserError, match="keeps no statistics"):
        source_of(made)
    live = assemble(resolve("distill", [], [*chosen.items(), ("cache", "off")]), given=Given(teacher=network))
    assert not isinstance(source_of(live), CachedTeacher)
