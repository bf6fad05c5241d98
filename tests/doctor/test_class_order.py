"""The order of classes where there are many of them and few images of each."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from understudy.doctor.case import Case, Member
from understudy.doctor.finding import Finding, Severity
from understudy.doctor.probe import PROBES
from understudy.evaluation.predictions import Predictions

NUM_CLASSES = 1000


def teacher(accuracy: float, *, images: int, mixed: bool) -> Predictions:
    """Right about so many images, and about the others any class; its logits in another order if they are mixed."""
    generator = torch.Generator().manual_seed(0)
    labels, others = torch.randint(NUM_CLASSES, (2, images), generator=generator)
    order = torch.randperm(NUM_CLASSES, generator=generator) if mixed else torch.arange(NUM_CLASSES)
    said = torch.where(torch.rand(images, generator=generator) < accuracy, labels, others)
    return Predictions(torch.nn.functional.one_hot(order[said], NUM_CLASSES).float(), labels)


def found(seen: Predictions, *, in_all: int = 50_000) -> Finding:
    data: Any = SimpleNamespace(classes=[f"c{number}" for number in range(NUM_CLASSES)], val=range(in_all))
    member = Member("teacher", "object:teacher", cast("Any", None))
    case: Any = SimpleNamespace(
        data=data, members=[member], answers=lambda *asked: seen, settings=SimpleNamespace(teacher={})
    )
    (finding,) = PROBES.get("class-order")(cast("Case", case))
    return finding


@pytest.mark.parametrize("accuracy", [0.6, 0.76])
def test_another_order_is_found_from_one_image_a_class(accuracy: float) -> None:
    finding = found(teacher(accuracy, images=2000, mixed=True))
    assert finding.severity is Severity.ERROR
    assert "another order" in finding.what
    # Of a class without any image nothing is known.
    assert finding.fix.startswith("--images 10000")
    assert found(teacher(accuracy, images=2000, mixed=True), in_all=2000).fix.startswith("teacher.classes={")


@pytest.mark.parametrize("mixed", [True, False])
def test_nothing_is_said_about_the_order_of_a_poor_teacher_from_few_images(mixed: bool) -> None:
    finding = found(teacher(0.2, images=2000, mixed=mixed))
    assert (finding.severity, finding.fix) == (Severity.NOTE, "--images 10000")
    assert "too few images of each class" in finding.what


def test_the_own_order_needs_no_image_of_each_class() -> None:
    assert found(teacher(0.6, images=2000, mixed=False)).severity is Severity.OK


def test_guessing_is_good_in_no_order() -> None:
    finding = found(teacher(0.0, images=10_000, mixed=False))
    assert (finding.severity, finding.what) == (Severity.NOTE, "no other class order makes the teacher good")
