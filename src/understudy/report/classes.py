"""Which classes gain and which lose."""

from understudy.report.blocks import Data, Section, Table
from understudy.report.numbers import NO_NUMBER, percent, points
from understudy.report.subject import Subject


def classes_section(subject: Subject) -> Section | None:
    """Share of each class that is recognised, by student, teacher and baseline; None where it was not counted."""
    recalls = {member.name: member.recalls() for member in subject.shown}
    if not recalls[subject.main.name]:
        return None
    others = [member for member in (subject.teacher, subject.baseline) if member is not None and recalls[member.name]]
    members = [subject.main, *others]
    members = list(dict.fromkeys(members))
    other = members[-1] if len(members) > 1 else None
    counts = {row["class"]: row["images"] for row in subject.main.first["per_class"]}
    rows = [[name, counts[name], *(recalls[member.name][name] for member in members)] for name in counts]
    differences = [_minus(row[2], row[-1]) if other else None for row in rows]
    header = ["class", "test images", *(member.name for member in members)]
    if other:
        header.append(f"{subject.main.name} minus {other.name}")
    texts = [
        [str(name), f"{images:,}", *(percent(value, 1) for value in values)]
        + ([NO_NUMBER if difference is None else points(difference)] if other else [])
        for (name, images, *values), difference in zip(rows, differences, strict=True)
    ]
    numbers = [[*row, difference] if other else row for row, difference in zip(rows, differences, strict=True)]
    table = Table(
        "Share of the test images of each class that is recognised (recall)",
        header,
        texts,
        data=Data("classes", header, numbers),
        note=_note(subject, counts),
    )
    return Section("classes", "Class by class", [table])


def _minus(a: object, b: object) -> float | None:
    return a - b if isinstance(a, float) and isinstance(b, float) else None


def _note(subject: Subject, counts: dict[str, int]) -> str:
    some = [number for number in counts.values() if number]
    note = f"One image is {100 / max(some):.2f} to {100 / min(some):.2f} points of its class."
    return f"{note} Means over the runs of an arm." if subject.study else note
