"""Images about which teacher and student disagree."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.evaluation.predictions import Predictions
from understudy.record import RunDirectory
from understudy.report.blocks import Block, Picture, Pictures, Section, Text
from understudy.report.numbers import percent
from understudy.report.subject import Subject

# (height, width) of grey images, (height, width, 3) of others.
Pixels = NDArray[np.uint8]

KINDS = {
    "student": "Only the student is right",
    "teacher": "Only the teacher is right",
    "neither": "Both are wrong, in different ways",
}
# Of each kind; with thumbnails of a few kB the page stays small.
LIMIT = 8
THUMBNAIL = 112
# Images up to here are shown pixel by pixel.
TINY = 40


class Disagreement(NamedTuple):
    """An image of the test split with what was said about it.

    Attributes:
        place: In the test split.
        kind: Who is right: one of `KINDS`.
        label: Its class id.
        student: The student's answer and its confidence.
        teacher: The teacher's.
    """

    place: int
    kind: str
    label: int
    student: tuple[int, float]
    teacher: tuple[int, float]


def find_disagreements(run: RunDirectory) -> list[Disagreement]:
    """All test images with different answers, those first about which both are sure; empty without a teacher.

    Args:
        run: A finished run with the logits of its teacher.
    """
    files = [run.logits("test"), run.teacher_logits("test")]
    if not all(file.exists() for file in files):
        return []
    student, teacher = (Predictions.load(file) for file in files)
    if student.logits.shape != teacher.logits.shape:
        return []
    (ps, s), (pt, t) = (found.logits.double().softmax(1).max(1) for found in (student, teacher))
    order = torch.where(s != t, ps * pt, -1.0).argsort(descending=True, stable=True)
    chosen = order[: int((s != t).sum())].tolist()
    return [
        Disagreement(
            index,
            _kind(int(student.labels[index]), int(s[index]), int(t[index])),
            int(student.labels[index]),
            (int(s[index]), float(ps[index])),
            (int(t[index]), float(pt[index])),
        )
        for index in chosen
    ]


def chosen_for_page(found: Sequence[Disagreement], *, limit: int = LIMIT) -> list[Disagreement]:
    """The first few of each kind."""
    return [one for kind in KINDS for one in [each for each in found if each.kind == kind][:limit]]


def disagreement_section(
    subject: Subject,
    found: Sequence[Disagreement],
    *,
    classes: Sequence[str],
    pictures: Mapping[int, Pixels] | str,
) -> Section | None:
    """The images, with label and answers; None where the two never disagree.

    Args:
        subject: What the page is about.
        found: Of the first run of its main member.
        classes: Class names.
        pictures: Pixels by index of the test split (height, width) or (height, width, 3); or why there are none.
    """
    if not found:
        return None
    counts = {kind: sum(each.kind == kind for each in found) for kind in KINDS}
    parts = ", ".join(f"{KINDS[kind][:1].lower()}{KINDS[kind][1:]}: {count:,}" for kind, count in counts.items())
    whose = f" (seed {subject.main.runs[0].read_result()['seed']} of {subject.main.name})" if subject.study else ""
    total = subject.images["test"]
    blocks: list[Block] = [
        Text(f"Teacher and student{whose} give different answers for {len(found):,} of {total:,} test images: {parts}.")
    ]
    if isinstance(pictures, str):
        blocks.append(Text(f"The images cannot be shown: {pictures}"))
    else:
        blocks += [_group(kind, found, counts[kind], classes, pictures) for kind in KINDS if counts[kind]]
    return Section("disagreements", "Where teacher and student disagree", blocks)


def _kind(label: int, student: int, teacher: int) -> str:
    return {student: "student", teacher: "teacher"}.get(label, "neither")


def _group(
    kind: str,
    found: Sequence[Disagreement],
    count: int,
    classes: Sequence[str],
    pictures: Mapping[int, Pixels],
) -> Pictures:
    chosen = [each for each in chosen_for_page(found) if each.kind == kind and each.place in pictures]
    note = f"{len(chosen)} of {count:,}, those first about which both are sure" if count > len(chosen) else ""
    return Pictures(KINDS[kind], [_picture(each, classes, pictures[each.place]) for each in chosen], note)


def _picture(one: Disagreement, classes: Sequence[str], pixels: Pixels) -> Picture:
    label, student, teacher = (classes[number] for number in (one.label, one.student[0], one.teacher[0]))
    source, tiny = _thumbnail(pixels)
    lines = [
        ("label", label),
        ("student", f"{student}, {percent(one.student[1], 0)}"),
        ("teacher", f"{teacher}, {percent(one.teacher[1], 0)}"),
    ]
    return Picture(source, f"test image {one.place}, labelled {label}", lines, tiny)


def _thumbnail(pixels: Pixels) -> tuple[str, bool]:
    """A data: address, and whether the image is tiny."""
    from PIL import Image

    image = Image.fromarray(pixels)
    tiny = max(image.size) <= TINY
    file = io.BytesIO()
    if tiny:
        image.save(file, "PNG")
    else:
        image.thumbnail((2 * THUMBNAIL, 2 * THUMBNAIL))
        image.save(file, "JPEG", quality=75)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", tiny
