"""Whether the networks see the images at a size that has a meaning."""

from collections.abc import Iterator
from itertools import islice
from statistics import median

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, note, ok, warning
from understudy.doctor.probe import PROBES
from understudy.taps import size_seen

# Times the height or width of the images: above that, more pixels show nothing more.
NOTEWORTHY, MUCH = 1.5, 3.0
SAMPLED = 64


@PROBES.register("input-size")
def input_size(case: Case) -> Iterator[Finding]:
    """Images blown up threefold are a warning; other sizes for teacher and student than each other's are a note."""
    made = case.studying or case.teaching
    if made is None:
        return
    native = case.data.size or _native(case)
    image = made.example()
    seen = {"student": max(size_seen(case.student, image))} if case.studying else {}
    if case.teaching is not None:
        seen.update({member.title: max(size_seen(member.model, image)) for member in case.members})
    evidence = ", ".join(f"the {role} sees {size} pixels" for role, size in seen.items())
    evidence = f"images of {native} pixels, batches of {made.size}; {evidence}"
    enlarged = {role: size / native for role, size in seen.items() if size >= NOTEWORTHY * native}
    for role, factor in enlarged.items():
        # A teacher has the size that it was trained for; what the student sees can be chosen.
        kind = warning if factor >= MUCH and role == "student" else note
        section = "data" if seen[role] == made.size > native else "student" if role == "student" else "teacher"
        yield kind(
            f"the {role} sees the images {factor:.3g} times enlarged, at {factor**2:.3g} times the work",
            evidence,
            f"{section}.size={native}, if the network was not trained for {seen[role]}",
        )
    if len(set(seen.values())) > 1:
        yield note(
            "teacher and student see the images at different sizes", evidence, f"student.size={max(seen.values())}"
        )
    elif not enlarged:
        yield ok("the networks see the images at their size", evidence)


def _native(case: Case) -> int:
    """The usual length of the shorter side."""
    images = islice(case.data.train.sample(), SAMPLED)
    return round(median(min(image.shape[1:]) for image in images))
