"""Each probe finds a fault that was planted, says how to mend it, and is content with a healthy set-up."""

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple, cast

import pytest
import torch
from digit_cases import (
    Function,
    case_of,
    digits,
    ending_with,
    findings,
    logistic,
    own_spec,
    pixels_of,
    small_student,
    with_training,
)
from torch import Tensor, nn
from torch.nn.functional import dropout

from understudy.classifier import Classifier, InputSpec
from understudy.data import ImageData, PixelSplit
from understudy.doctor.case import Case
from understudy.doctor.finding import Severity
from understudy.doctor.probe import PROBES
from understudy.evaluation.predictions import Predictions
from understudy.models import create_model

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


class Fault(NamedTuple):
    """A planted fault and what should be said about it."""

    probe: str
    severity: Severity
    what: str
    fix: str
    plant: Callable[[], Case]


def other_input() -> Case:
    """Learnt on pixels of the data's statistics, said to want them in 0..255."""
    return case_of(teacher=logistic(spec=InputSpec(None, 1, (0.0,), (1 / 255,))))


def coloured(data: ImageData) -> ImageData:
    """The digit is red; green and blue are other digits."""
    found = {}
    for split in ("train", "val", "test"):
        part = pixels_of(data, split)
        layers = [part.pixels, part.pixels.roll(1, 0), part.pixels.roll(2, 0)]
        found[split] = PixelSplit(torch.cat(layers, 1), part.labels)
    return replace(data, **found, channels=3, mean=data.mean * 3, std=data.std * 3)


def blue_first() -> Case:
    data = coloured(digits())
    good = logistic(data)
    network = nn.Sequential(Function(lambda image: image.flip(1)), good.network)
    teacher = Classifier(network, spec=good.spec, classes=good.classes)
    return case_of(data=data, teacher=teacher, student=small_student(data))


def other_order() -> Case:
    return case_of(teacher=ending_with(logistic(), Function(lambda logits: logits[:, [1, 2, 0, *range(3, 10)]])))


def guessing() -> Case:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return case_of(teacher=Classifier(network, spec=own_spec(digits()), classes=digits().classes))


def worse_than_linear() -> Case:
    """It sees the upper half of the image only."""

    def halved(image: Tensor) -> Tensor:
        return torch.cat([image[:, :, :4], torch.zeros_like(image[:, :, 4:])], 2)

    good = logistic()
    network = nn.Sequential(Function(halved), good.network)
    return case_of(teacher=Classifier(network, spec=good.spec, classes=good.classes))


def scaled(factor: float) -> Callable[[], Case]:
    return lambda: case_of(teacher=ending_with(logistic(), Function(lambda logits: logits * factor)))


def squashed(function: Callable[[Tensor], Tensor]) -> Callable[[], Case]:
    return lambda: case_of(teacher=ending_with(logistic(), Function(function)))


def student_with_softmax() -> Case:
    return case_of(student=ending_with(small_student(), nn.Softmax(1)))


def learnt_by_heart(teacher: nn.Module | None = None) -> Case:
    """Training images of which the teacher knows all, validation images with many wrong labels."""
    data = digits()
    train = replace(data, val=PixelSplit(pixels_of(data, "val").pixels, shifted(data.val.labels, every=3)))
    return case_of(data=train, teacher=teacher)


def learnt_by_heart_and_sure() -> Case:
    return learnt_by_heart(ending_with(logistic(), Function(lambda logits: logits * 100)))


def sharp_for_the_method_that_softens() -> Case:
    teacher = ending_with(logistic(), Function(lambda logits: logits * 100))
    chosen = {"method": ["dkd", "kd"], "method.dkd.logits": "standardized"}
    return case_of(teacher=teacher, settings=chosen)


def shifted(labels: Tensor, *, every: int) -> Tensor:
    """Every so manieth label is another one."""
    wrong = labels.clone()
    wrong[::every] = (wrong[::every] + 1) % 10
    return wrong


def taught_the_validation_images() -> Case:
    data = digits()
    return case_of(data=with_training(data, labels=shifted(data.train.labels, every=5)))


def wrong_labels() -> Case:
    data = digits()
    return case_of(data=with_training(data, labels=shifted(data.train.labels, every=10)))


def leaking(count: int) -> Callable[[], Case]:
    def plant() -> Case:
        data = digits()
        train, test = pixels_of(data, "train"), pixels_of(data, "test")
        pixels = torch.cat([train.pixels, test.pixels[:count]])
        labels = torch.cat([train.labels, test.labels[:count]])
        return case_of(data=with_training(data, labels, pixels))

    return plant


def contradictory() -> Case:
    data = digits()
    train = pixels_of(data, "train")
    pixels, labels = torch.cat([train.pixels, train.pixels[:2]]), torch.cat([train.labels, 9 - train.labels[:2]])
    return case_of(data=with_training(data, labels, pixels))


def imbalanced() -> Case:
    data = digits()
    train = pixels_of(data, "train")
    kept = (train.labels != 3) | (torch.cumsum(train.labels == 3, 0) <= 5)
    return case_of(data=with_training(data, train.labels[kept], train.pixels[kept]))


def without_validation_of_a_class() -> Case:
    data = digits()
    val = pixels_of(data, "val")
    return case_of(data=replace(data, val=val.subset((val.labels != 7).nonzero().squeeze(1))))


def large_student() -> Case:
    return case_of(student=create_model("cnn-s", classes=digits().classes, channels=1))


def enlarged() -> Case:
    data = digits()
    student = create_model("cnn-xs", classes=data.classes, channels=1, mean=data.mean, std=data.std, size=(32, 32))
    return case_of(student=student)


def batch_of_one() -> Case:
    return case_of(student=normed_student(), settings={"train.batch_size": 1})


def normed_student() -> Classifier:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    return Classifier(network, spec=own_spec(digits()), classes=digits().classes)


def dead_branch() -> Case:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = small_student().network
            self.unused = nn.Linear(4, 4)

        def forward(self, image: Tensor) -> Tensor:
            return self.used(image)

    return case_of(student=Classifier(Dead(), spec=own_spec(digits()), classes=digits().classes))


def infinite() -> Case:
    return case_of(student=ending_with(small_student(), Function(lambda logits: logits / 0)))


def out_of_scale() -> Case:
    return case_of(student=ending_with(small_student(), Function(lambda logits: logits * 1000)))


def random_teacher() -> Case:
    return case_of(teacher=ending_with(logistic(), Function(lambda logits: dropout(logits, 0.1))))


def batch_teacher() -> Case:
    norm = nn.BatchNorm1d(10, affine=False, track_running_stats=False)
    return case_of(teacher=ending_with(logistic(), norm), settings={"teacher.allow_untrained": True})


def test_a_temperature_is_judged_on_images_that_it_was_not_fitted_to() -> None:
    """The teacher is too sure of the first half of the images, and as sure as it is right of the second."""
    healthy = case_of()
    (member,) = healthy.members
    logits, labels = healthy.answers(member.model, "val")
    first = torch.arange(len(labels)) < len(labels) // 2
    wrong = Predictions(
        torch.where(first[:, None], 5 * logits, logits), torch.where(first, shifted(labels, every=5), labels)
    )
    case = cast("Case", SimpleNamespace(members=[member], able=lambda model, title: wrong))
    (found,) = findings("calibration", case)
    assert found.severity is Severity.OK, found


def settings(**chosen: object) -> Callable[[], Case]:
    return lambda: case_of(settings={key.replace("__", "."): value for key, value in chosen.items()})


FAULTS = [
    Fault("normalisation", ERROR, "wants another normalisation: that of the data", r"mean=\[0.3038\]", other_input),
    Fault("normalisation", ERROR, "in BGR", r"image.flip\(1\)", blue_first),
    Fault("class-order", ERROR, "another order", r"teacher.classes=\{'0': '2', '1': '0', '2': '1'\}", other_order),
    Fault("normalisation", NOTE, "no other normalisation", "", guessing),
    Fault("class-order", NOTE, "no other class order", "", guessing),
    Fault("teacher-accuracy", ERROR, "no better than guessing", "teacher.weights", guessing),
    Fault("teacher-accuracy", WARNING, "worse than a linear", "better teacher", worse_than_linear),
    Fault("logits", ERROR, "the teacher gives probabilities", "softmax", squashed(lambda logits: logits.softmax(1))),
    Fault("logits", ERROR, "the student gives probabilities", "softmax", student_with_softmax),
    Fault("logits", WARNING, "sigmoid", "sigmoid", squashed(torch.sigmoid)),
    Fault("logits", WARNING, "all alike", "teacher.temperature=fit", scaled(0.001)),
    Fault("logits", ERROR, "not finite", "weights", infinite),
    Fault("calibration", WARNING, "surer than it is right", "teacher.temperature=fit", scaled(20)),
    Fault("calibration", WARNING, "less sure than it is right", "teacher.temperature=fit", scaled(0.05)),
    Fault("soft-targets", WARNING, "nearly one-hot", r"method.temperature=\d+", scaled(100)),
    Fault("soft-targets", WARNING, "by heart", "augmentation", learnt_by_heart_and_sure),
    # Its answers say more than labels all the same.
    Fault("soft-targets", NOTE, "much better on its training images", "", learnt_by_heart),
    Fault("soft-targets", WARNING, "nearly one-hot", r"^method.kd.temperature=\d+", sharp_for_the_method_that_softens),
    Fault("soft-targets", WARNING, "trained on them", "split_seed", taught_the_validation_images),
    Fault("label-noise", WARNING, "training labels look wrong", "label.weight=0", wrong_labels),
    Fault("duplicates", WARNING, "training images are among the test", "remove", leaking(5)),
    Fault("duplicates", ERROR, "training images are among the test", "remove", leaking(100)),
    Fault("duplicates", WARNING, "different labels", "keep one", contradictory),
    Fault("classes", WARNING, r"14.6 times|14.\d times", "data.sampling=balanced", imbalanced),
    Fault("classes", WARNING, "no validation image of 7", "data.validation", without_validation_of_a_class),
    Fault("capacity", WARNING, "larger than its teacher", "student=", large_student),
    Fault("input-size", WARNING, "student sees the images 4 times enlarged", "student.size=8", enlarged),
    Fault("batches", ERROR, "each image by itself", "train.batch_size=32", batch_of_one),
    Fault("batches", WARNING, "more images than there are", "train.batch_size=64", settings(train__batch_size=1000)),
    Fault("batches", WARNING, "leaves out", r"train.batch_size=359 \(then 1\)", settings(train__batch_size=400)),
    Fault("batches", WARNING, "few steps", "train.epochs=", settings(train__epochs=2)),
    Fault("loss-terms", WARNING, "kd hardly counts", r"method.weight=", settings(method__weight=1e-5)),
    Fault("loss-terms", NOTE, "ce hardly counts", "method.weight=.* for 50%", settings(method__weight=1e4)),
    Fault("loss-terms", WARNING, "no loss term trains unused.weight", "student.train", dead_branch),
    Fault("first-step", ERROR, "fails: Expected more than 1 value", "train.batch_size=32", batch_of_one),
    Fault("first-step", ERROR, "not finite", "weight", infinite),
    Fault("first-step", WARNING, "worse than guessing", "student.mean", out_of_scale),
    Fault("steadiness", ERROR, "something else at each call", "self.training", random_teacher),
    Fault("steadiness", ERROR, "rest of the batch", "track_running_stats", batch_teacher),
    Fault("setup", ERROR, "cannot take images", "", lambda: case_of(student=nn.Conv2d(3, 10, 1))),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.probe}-{fault.what[:20]}")
def test_a_planted_fault_is_found_with_its_fix(fault: Fault) -> None:
    found = findings(fault.probe, fault.plant())
    hits = [one for one in found if one.severity is fault.severity and re.search(fault.what, one.what)]
    assert hits, found
    assert re.search(fault.fix, hits[0].fix), hits[0]


@pytest.fixture(scope="module")
def healthy() -> Case:
    return case_of()


@pytest.mark.parametrize("name", PROBES.names())
def test_a_healthy_set_up_gives_no_warning(name: str, healthy: Case) -> None:
    assert [one for one in findings_of(name, healthy) if one.severity >= WARNING] == []


def findings_of(name: str, case: Case) -> list:
    return [] if name == "trained" else findings(name, case)


def test_every_probe_has_a_planted_fault() -> None:
    # What a finished run shows is planted in test_checkup.
    assert {fault.probe for fault in FAULTS} == set(PROBES.names()) - {"trained"}
