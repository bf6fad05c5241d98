import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from understudy.data import load_data
from understudy.errors import UserError
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.evaluate import evaluate_model
from understudy.experiments.inputs import input_shapes
from understudy.experiments.plan import plan_tables
from understudy.experiments.run import Result
from understudy.experiments.settings import resolve
from understudy.experiments.sizes import height_and_width, largest_side
from understudy.models import create_model, load_model

Digits = Callable[..., Result]


def assembled(teacher: Path | str, size: object, *overrides: tuple[str, Any], student: str = "cnn-xs") -> Assembly:
    chosen = [("data", "digits"), ("student", student), ("teacher", str(teacher)), ("student.size", size)]
    return assemble(resolve("distill", [], [*chosen, ("device", "cpu"), *overrides]))


@pytest.mark.parametrize(
    ("size", "batch", "expected"),
    [
        (5, 8, (5, 5)),
        (12, 8, (12, 12)),
        ([3, 5], 8, (3, 5)),
        (0.5, 8, (4, 4)),
        (0.5, 225, (112, 112)),
        ("1/2", 8, (4, 4)),
        ("1/3", 28, (9, 9)),
        ("3/4", 224, (168, 168)),
        (0.1, 30, (3, 3)),
        (0.01, 8, (1, 1)),
        (1.0, 7, (7, 7)),
    ],
)
def test_pixels_pairs_and_parts(size: Any, batch: int, expected: tuple[int, int]) -> None:
    assert resolve("train", [], [("data", "digits"), ("model", "cnn-xs"), ("model.size", size)]).student["size"] == size
    assert height_and_width(size, batch) == expected


@pytest.mark.parametrize("size", [0, -4, 0.0, -0.5, 16.0, 1.5, [8], [1, 2, 3], [0, 4], "half", "1/0", "16", "3/2"])
def test_what_is_no_size_is_one_line(size: Any) -> None:
    with pytest.raises(UserError, match=r"student\.size=.* is not valid: give pixels") as caught:
        resolve("train", [], [("data", "digits"), ("model", "cnn-xs"), ("model.size", size)])
    assert "\n" not in str(caught.value)


def test_a_part_asks_for_no_size_of_its_own() -> None:
    assert [largest_side(size) for size in (None, 0.5, "1/2", 6, [4, 9])] == [None, None, None, 6, 9]


@pytest.mark.parametrize("size", [3, 0.5, [5, 2], "7/8"])
def test_the_student_sees_the_same_crop_resized(size: Any, teacher_run: Path) -> None:
    """What teacher and student see are the same augmented pixels, at another size."""
    made = assembled(teacher_run, size, ("data.augment", "crop-flip"))
    batch = next(iter(made.train_loader().batches(0)))
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs: seen.__setitem__(name, inputs[0])

    assert made.teacher is not None
    teacher: Any = made.teacher.tapped.model
    made.student.network.register_forward_pre_hook(keep("student"))
    teacher.network.register_forward_pre_hook(keep("teacher"))
    made.distiller(batch, made.teacher(batch))
    spec = made.student.spec
    pixels = batch.image.float() / 255
    expected = (resize(pixels, list(height_and_width(size, 8)), antialias=True) - spec.mean[0]) / spec.std[0]
    torch.testing.assert_close(seen["student"], expected)
    # The teacher is asked in chunks; the last one stays.
    whole = (pixels - teacher.spec.mean[0]) / teacher.spec.std[0]
    torch.testing.assert_close(seen["teacher"], whole[-len(seen["teacher"]) :])


def test_shapes_are_recorded_and_planned(teacher_run: Path, digits: Digits, tmp_path: Path) -> None:
    result = digits("distill", tmp_path / "half", teacher=str(teacher_run), student__size=0.5)
    shapes = {"batch": [1, 8, 8], "student": [1, 4, 4], "teacher": [1, 8, 8]}
    assert json.loads((tmp_path / "half" / "result.json").read_text())["inputs"] == result["inputs"] == shapes
    loaded = load_model(tmp_path / "half")
    assert loaded.spec.size == (4, 4)
    table = plan_tables(assembled(teacher_run, 0.5))[1]
    assert list(table.columns[2].cells) == ["1x4x4", "1x8x8"]


def test_each_of_several_teachers_is_recorded(teacher_run: Path) -> None:
    chosen = [("data", "digits"), ("student", "cnn-xs"), ("teacher", [str(teacher_run)] * 2), ("student.size", 3)]
    made = assemble(resolve("distill", [], [*chosen, ("device", "cpu")]))
    expected = {"batch": [1, 8, 8], "student": [1, 3, 3], "teacher 1": [1, 8, 8], "teacher 2": [1, 8, 8]}
    assert input_shapes(made) == expected


@pytest.mark.parametrize("size", [8, 1.0, [8, 8]])
def test_full_size_is_plain_distillation_bit_for_bit(
    size: Any, teacher_run: Path, digits: Digits, tmp_path: Path
) -> None:
    for name, chosen in (("plain", {}), ("full", {"student__size": size})):
        digits("distill", tmp_path / name, teacher=str(teacher_run), **chosen)
    plain, full = (tmp_path / name / "logits-test.safetensors" for name in ("plain", "full"))
    assert plain.read_bytes() == full.read_bytes()
    one, other = (load_model(tmp_path / name).state_dict() for name in ("plain", "full"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_network_that_cannot_take_the_size_is_one_line(teacher_run: Path) -> None:
    with pytest.raises(UserError, match=r"student cannot take images of 2x2 pixels .*: set student\.size to") as caught:
        assembled(teacher_run, "1/4", student="vgg8")
    assert "\n" not in str(caught.value)


def test_photographs_are_evaluated_at_the_size_they_were_trained_at(
    image_folder: Path, digits: Digits, tmp_path: Path
) -> None:
    """The batches are as large as the teacher wants them; the student alone would ask for smaller ones."""
    common = {"data": str(image_folder), "data__validation": 0.3, "train__batch_size": 4}
    teacher = {"teacher": "resnet8", "teacher__allow_untrained": True}
    result = digits("distill", tmp_path / "run", **common, **teacher, student__size=0.25)
    assert result["inputs"] == {"batch": [3, 32, 32], "student": [3, 8, 8], "teacher": [3, 32, 32]}
    found = evaluate_model(tmp_path / "run", [("data.workers", 0)])["splits"]["test"]["scores"]
    assert {key: found[key] for key in result["test"]} == pytest.approx(result["test"], abs=1e-6)


def test_a_network_built_in_python_takes_a_size_and_a_classifier_has_its_own() -> None:
    classifier = create_model("cnn-xs", classes=load_data("digits").classes, channels=1)
    chosen = [("data", "digits"), ("student", "object:Sequential"), ("student.size", 0.5), ("device", "cpu")]
    settings = resolve("train", [], chosen)
    assert assemble(settings, given=Given(student=classifier.network)).student.spec.size == (4, 4)
    for role in ("student", "teacher"):
        given = replace(Given(student=nn.Sequential(), teacher=nn.Sequential()), **{role: classifier})
        named = [("teacher", "object:Classifier"), ("student", "object:Sequential")]
        settings = resolve("distill", [], [("data", "digits"), *named, (f"{role}.size", 0.5), ("device", "cpu")])
        with pytest.raises(UserError, match=r"leave out size=0\.5"):
            assemble(settings, given=given)
