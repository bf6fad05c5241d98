"""A study as the subject of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.errors import UserError
from understudy.report.numbers import latency
from understudy.report.run_subject import network_name
from understudy.report.subject import Estimate, Member, Subject, read_evaluation, teacher_of
from understudy.study_record import StudyDirectory

Record = Mapping[str, Any]


def study_subject(path: str | Path) -> Subject:
    """Read what came out of a study so far.

    Args:
        path: The directory of a study.

    Raises:
        UserError: This is no study, or no run of it has ended.
    """
    study = StudyDirectory(path)
    summary = study.read_summary()
    arms = [arm for arm in summary["arms"] if arm["runs"]]
    if not arms:
        raise UserError(f"no run of the study in '{path}' has ended: start it again with the same command")
    arms.sort(key=lambda arm: not arm["baseline"])
    first = 1 if arms[0]["baseline"] else 2
    found = [[read_evaluation(run) for run in study.runs_of(arm)] for arm in arms]
    pairs = enumerate(zip(arms, found, strict=True), first)
    students = _undisturbed([_member(study, arm, evaluations, number) for number, (arm, evaluations) in pairs])
    main = best_on_validation([member for member in students if member.role == "student"] or students)
    against = (comparison_of(summary, main) or {}).get("against", summary["baseline"])
    return Subject(
        study.path,
        f"{summary['name']}: {main.network} on {summary['data']}",
        summary["data"],
        [*_teacher(summary, read_evaluation(main.runs[0]), [each for several in found for each in several]), *students],
        main,
        next((member for member in students if member.name == against and member is not main), None),
        main.runs[0].read_result()["images"],
        study=summary,
        warnings=[*summary["warnings"], *_unfinished(summary)],
    )


def best_on_validation(members: Sequence[Member]) -> Member:
    """The arm with the highest mean accuracy on validation images: the test split must not choose."""
    return max(members, key=lambda member: member.accuracy["val"].mean)


def comparison_of(summary: Record, member: Member) -> Record | None:
    """How the accuracy of an arm compares with its baseline's; None as long as there are fewer than two pairs."""
    rows = summary["comparisons"]
    own = (row for row in rows if row["arm"] == member.name and row["metric"] == "accuracy")
    return next((row for row in own if row["n"] > 1), None)


def _member(study: StudyDirectory, arm: Record, found: Sequence[Record], number: int) -> Member:
    return Member(
        "baseline" if arm["baseline"] else "student",
        arm["name"],
        network_name(arm["student"]),
        {split: _estimate(arm[split]["accuracy"]) for split in ("val", "test")},
        {**arm["cost"], **min((evaluation["cost"] for evaluation in found), key=_latency)},
        runs=list(study.runs_of(dict(arm))),
        evaluated=[evaluation["splits"] for evaluation in found],
        number=number,
        settings=arm["settings"],
    )


def _undisturbed(members: Sequence[Member]) -> list[Member]:
    """Arms of one network with one latency, the least: what else the machine did can only have made it longer."""
    costs = {_network(member): member.cost for member in sorted(members, key=lambda member: -_latency(member.cost))}
    return [replace(member, cost=costs[_network(member)]) for member in members]


def _network(member: Member) -> tuple[object, ...]:
    return member.network, member.cost.get("parameters"), member.cost.get("macs")


def _latency(cost: Record) -> float:
    found = latency(cost)
    return float("inf") if found is None else found


def _estimate(record: Record) -> Estimate:
    return Estimate(record["mean"], record.get("low"), record.get("high"), record.get("std"))


def _teacher(summary: Record, evaluation: Record, others: Sequence[Record]) -> list[Member]:
    """As the evaluation has it, with the least latency of the same teacher in all: as its students' latencies are."""
    if measured := teacher_of(evaluation, name=network_name(summary["teacher"]) if summary["teacher"] else None):
        teachers = [found for each in others if (found := each["teacher"])]
        same = [each["cost"] for each in teachers if each["name"] == evaluation["teacher"]["name"]]
        return [replace(measured, cost=min(same, key=_latency))]
    if found := summary.get("teacher_result"):
        accuracy = {split: Estimate(found[split]["accuracy"]) for split in ("val", "test")}
        return [Member("teacher", "teacher", network_name(found["name"]), accuracy, found["cost"])]
    return []


def _unfinished(summary: Record) -> list[str]:
    lines = [f"{row['arm']}, seed {row['seed']}, failed: {row['error']}" for row in summary["failed"]]
    if summary["finished"] < summary["planned"]:
        lines.insert(0, f"the study is not finished: {summary['finished']} of {summary['planned']} runs have ended")
    return lines
