"""The arms of a study and how each compares with the baseline."""

from collections.abc import Mapping
from typing import Any

from understudy.report.arm_figures import arm_figures
from understudy.report.blocks import Block, Data, Section, Table
from understudy.report.numbers import NO_NUMBER, interval, p_text, percent, points
from understudy.report.subject import Member, Subject

COMPARISON = [
    *("arm", "against", "metric", "mean", "low", "high", "n"),
    *("p_t", "p_holm", "p_sign", "wins", "losses", "ties", "seeds_needed"),
]


def arms_section(subject: Subject) -> Section | None:
    """Mean and spread of each arm and its paired difference; None for a run."""
    if subject.study is None:
        return None
    rows = [row for row in subject.study["comparisons"] if row["metric"] == "accuracy"]
    blocks: list[Block] = [arm_figures(subject, rows, data=_runs(subject)), _arms(subject)]
    if rows:
        blocks.append(_comparisons(subject, rows))
    return Section("arms", "The arms of the study", blocks)


def _arms(subject: Subject) -> Table:
    members = [member for member in subject.members if member.role != "teacher"]
    return Table(
        "Test accuracy over the runs of each arm",
        ["", "runs", "mean", "std", "95 % interval", "validation mean", "settings of its own"],
        [_arm(member) for member in members],
        series=[member.number for member in members],
        note="std: sample standard deviation over runs.",
    )


def _arm(member: Member) -> list[str]:
    test = member.accuracy["test"]
    own = ", ".join(f"{key}={value}".replace("'", "") for key, value in member.settings.items())
    ends = interval(test.low, test.high) or NO_NUMBER
    numbers = [percent(test.mean), percent(test.std), ends, percent(member.accuracy["val"].mean)]
    return [member.name, str(member.num_runs), *numbers, own or NO_NUMBER]


def _runs(subject: Subject) -> Data:
    assert subject.study is not None
    rows = [
        [arm["name"], run["seed"], run["fold"], run["epoch"], run["val"]["accuracy"], run["test"]["accuracy"]]
        for arm in subject.study["arms"]
        for run in arm["runs"]
    ]
    return Data("runs", ["arm", "seed", "fold", "selected_epoch", "val_accuracy", "test_accuracy"], rows)


def _comparisons(subject: Subject, rows: list[Mapping[str, Any]]) -> Table:
    numbers = {member.name: member.number for member in subject.members}
    header = ["", "against", "points", "95 % interval", "pairs", "p (t)", "p (Holm)", "p (sign)", "won, lost, tied"]
    return Table(
        "Difference in test accuracy, paired by seed",
        [*header, "pairs needed", "images better, worse"],
        [_comparison(row) for row in rows],
        data=Data("comparisons", COMPARISON, [[row[key] for key in COMPARISON] for row in rows]),
        series=[numbers[row["arm"]] for row in rows],
        note="p (Holm) allows for several arms being compared. Pairs needed: how many in all would find a difference "
        "of this size and spread 4 times out of 5, a rough guess. Images: on how many test images more, or fewer, runs "
        "of the arm than of the other are right, with the p-value.",
    )


def _comparison(row: Mapping[str, Any]) -> list[str]:
    images = row["mcnemar"]
    return [
        row["arm"],
        row["against"],
        points(row["mean"]),
        interval(row["low"], row["high"], signed=True) or NO_NUMBER,
        str(row["n"]),
        *(p_text(row[key]) for key in ("p_t", "p_holm", "p_sign")),
        f"{row['wins']}, {row['losses']}, {row['ties']}",
        str(row["seeds_needed"] or NO_NUMBER),
        f"{images['better']}, {images['worse']}; p {p_text(images['p'])}",
    ]
