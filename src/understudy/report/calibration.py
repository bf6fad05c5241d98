"""Whether the models are as sure as they are right: reliability diagrams, beside what chance alone would show."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from understudy.report.blocks import Block, Data, Figures, Panel, Section, Table
from understudy.report.numbers import decimal
from understudy.report.reliability import calibrated_range
from understudy.report.subject import Member, Subject
from understudy.report.svg import COLORS, draw, series_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
SIZE = (4.5, 4.0)
# Where a number is in the record of a split, and its heading.
COLUMNS: list[tuple[tuple[str, ...], str]] = [
    (("scores", "ece"), "ECE"),
    (("ece_floor", "mean"), "floor of ECE"),
    (("ece_floor", "high"), "floor at most"),
    (("scores", "ece_adaptive"), "adaptive ECE"),
    (("scores", "ece_classwise"), "class-wise ECE"),
    (("scores", "nll"), "NLL"),
    (("scores", "brier"), "Brier"),
    (("scores", "confidence"), "mean confidence"),
    (("scores", "entropy"), "entropy (nats)"),
    (("temperature", "value"), "fitted temperature"),
    (("temperature", "scores", "ece"), "ECE after it"),
    (("temperature", "scores", "ece_adaptive"), "adaptive after it"),
    (("temperature", "scores", "ece_classwise"), "class-wise after it"),
    (("temperature", "scores", "nll"), "NLL after it"),
]
# Where the upper end of an error's noise floor is, by where the error is.
FLOORS: dict[tuple[str, ...], tuple[str, ...]] = {
    (*where, "scores", error): (*where, f"{error}_floor", "high")
    for where in ((), ("temperature",))
    for error in ("ece", "ece_adaptive", "ece_classwise")
}


def calibration_section(subject: Subject) -> Section | None:
    """Reliability diagrams of teacher, baseline and student, and a table; None where nothing was evaluated."""
    shown = [member for member in subject.shown if member.first.get("reliability")]
    if not shown:
        return None
    rows = [
        [member.name, *(part[key] for key in ("low", "high", "images", "confidence", "accuracy"))]
        for member in shown
        for part in member.first["reliability"]
    ]
    whose = " Of each arm its first run is drawn; the table has means over runs." if subject.study else ""
    diagrams = Figures(
        [_diagram(member) for member in shown],
        Data("reliability", ["name", "low", "high", "images", "confidence", "accuracy"], rows),
        note="Bars: share of test images that are right, by confidence; the fainter, the fewer images. Upright lines: "
        f"where a bar of a perfectly calibrated model with as many images ends, 95 times in 100.{whose}",
    )
    blocks: list[Block] = [diagrams, _table(subject)]
    return Section("calibration", "Confidence and calibration", blocks)


def against_floor(split: Record) -> str:
    """The calibration error of a split beside the noise floor, in words."""
    floor, error = split.get("ece_floor"), split["scores"].get("ece")
    if error is None:
        return ""
    text = f"ECE {decimal(error)}"
    ends = (split.get("intervals") or {}).get("ece")
    text += f" [{decimal(ends[0])}, {decimal(ends[1])}]" if ends else ""
    if not floor:
        return f"{text}."
    span = f"{decimal(floor['mean'])} [{decimal(floor['low'])}, {decimal(floor['high'])}]"
    above = error > floor["high"]
    said = "more than" if above else "no more than"
    return f"{text}: {said} a perfectly calibrated model shows on as many images, {span}."


def _diagram(member: Member) -> Panel:
    bins = [part for part in member.first["reliability"] if part["images"]]
    most = max(part["images"] for part in bins)
    said = "; ".join(f"{part['confidence']:.2f}: {part['accuracy']:.2f} of {part['images']}" for part in bins)

    def paint(axes: "Axes") -> None:
        for part in bins:
            # Bins of few images are mostly noise, and look it.
            opacity = 0.25 + 0.75 * (part["images"] / most) ** 0.5
            width = part["high"] - part["low"]
            color = series_color(member.number)
            axes.bar(part["low"], part["accuracy"], width * 0.94, align="edge", color=color, alpha=opacity)
            middle = part["low"] + width / 2
            axes.plot([middle, middle], calibrated_range(part), color=COLORS["ink"], linewidth=1.5, alpha=0.7)
        axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=COLORS["ink"])
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")

    return draw(
        f"reliability-{member.number}",
        paint,
        title=f"{member.name} ({member.network})",
        description=f"Accuracy by confidence of {member.name} on test images: {said}.",
        caption=against_floor(member.first),
        size=SIZE,
    )


def _table(subject: Subject) -> Table:
    members = [member for member in subject.members if member.evaluated]
    known = {keys: name for keys, name in COLUMNS if any(member.mean(*keys) is not None for member in members)}
    # In the file beside the errors, in the table only as marks.
    numbers = list(dict.fromkeys([*known, *(FLOORS[keys] for keys in known if keys in FLOORS)]))
    return Table(
        "Calibration on test images",
        ["", *known.values()],
        [[member.name, *(_text(member, keys) for keys in known)] for member in members],
        data=Data(
            "calibration",
            ["name", *map("_".join, numbers)],
            [[member.name, *(member.mean(*keys) for keys in numbers)] for member in members],
        ),
        series=[member.number for member in members],
        note=_note(fitted=("temperature", "value") in known),
    )


def _text(member: Member, keys: tuple[str, ...]) -> str:
    """A number, with a mark where it is an error above its floor."""
    value = member.mean(*keys)
    floor = member.mean(*FLOORS[keys]) if keys in FLOORS else None
    return decimal(value) + ("!" if value is not None and floor is not None and value > floor else "")


def _note(*, fitted: bool) -> str:
    note = (
        "ECE: 15 bins of equal width. Floor: the ECE that a perfectly calibrated model shows on as many images, on "
        "average and in all but 2.5 of 100 cases. !: an error above its own floor, which chance does not explain."
    )
    return f"{note} Temperatures are fitted on validation images." if fitted else note
