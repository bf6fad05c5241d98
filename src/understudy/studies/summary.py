"""What came out of a study: `study.json` and `study.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.config import dotted
from understudy.evaluation.statistics import Average, average
from understudy.experiments.settings import data_name, teacher_names
from understudy.record import write_json, write_text
from understudy.studies.comparison import METRIC, compare_arms
from understudy.studies.folds import fold_means, pseudovalues
from understudy.studies.records import Record, Records
from understudy.studies.settings import Arm, Study

Summary = dict[str, Any]


def save_summary(study: Study, records: Records) -> Summary:
    """Write what came out so far.

    Args:
        study: The study.
        records: Its runs.

    Returns:
        What `study.json` holds.
    """
    found = records.finished()
    by_arm = {arm.name: [record for record in found if record.planned.arm == arm.name] for arm in study.arms}
    failed = records.failed()
    teachers = [_teacher(arm) for arm in study.arms]
    summary: Summary = {
        "name": study.directory.path.name,
        "data": data_name(study.arms[0].settings),
        "teacher": _only(teachers),
        "student": str(study.arms[-1].settings.student["name"]),
        "metric": METRIC,
        "seeds": list(study.seeds),
        "folds": study.folds,
        "baseline": next((arm.against for arm in study.arms if arm.against), None),
        "teacher_result": _teacher_result(found) if _only(teachers) else None,
        "planned": len(records.runs),
        "finished": len(found),
        "arms": [_arm(arm, by_arm[arm.name], study) for arm in study.arms],
        "comparisons": compare_arms(study, by_arm),
        "warnings": [*_untrained(found), *_unequal(study, by_arm), *_few(study)],
        "failed": [
            {"arm": planned.arm, "seed": planned.seed, "fold": planned.fold, "error": error}
            for planned, error in failed
        ],
    }
    write_json(study.directory.summary, summary)
    write_text(study.directory.table, _csv(summary))
    return summary


def _teacher(arm: Arm) -> str | None:
    return " + ".join(teacher_names(arm.settings.teacher)) if arm.settings.teacher else None


def _only(teachers: Sequence[str | None]) -> str | None:
    """The teacher of all arms that have one; None where they have several."""
    names = {name for name in teachers if name}
    return min(names) if len(names) == 1 else None


def _teacher_result(found: Sequence[Record]) -> Summary | None:
    return next((record.result["teacher"] for record in found if record.result["teacher"]), None)


def _arm(arm: Arm, found: Sequence[Record], study: Study) -> Summary:
    return {
        "name": arm.name,
        "baseline": arm.name in {each.against for each in study.arms},
        "command": arm.command,
        "settings": dotted(arm.own),
        "student": str(arm.settings.student["name"]),
        "teacher": _teacher(arm),
        "teacher_result": _teacher_result(found),
        "runs": [_run(record, study) for record in found],
        "test": {name: each._asdict() for name, each in _averages(found, "test", study.folds).items()},
        "val": {name: each._asdict() for name, each in _averages(found, "val", study.folds).items()},
        "cost": found[0].result["cost"] if found else None,
    }


def _run(record: Record, study: Study) -> Summary:
    return {
        "seed": record.planned.seed,
        "fold": record.planned.fold,
        "path": record.planned.directory.path.relative_to(study.directory.path).as_posix(),
        "val": record.result["val"],
        "test": record.result["test"],
        "epoch": record.result["selected"]["epoch"],
        "at_chance": record.at_chance,
    }


def _averages(found: Sequence[Record], split: str, folds: int | None) -> dict[str, Average]:
    if not found:
        return {}
    return {name: _average([(record, record.result[split][name]) for record in found], folds) for name in found[0].test}


def _average(values: Sequence[tuple[Record, float]], folds: int | None) -> Average:
    """Over runs; where there are folds, the interval is over folds, since seeds on one of them share all images."""
    plain = average([value for _, value in values])
    if folds is None:
        return plain
    of_folds = average(pseudovalues(fold_means({record.pair: value for record, value in values}), folds))
    return plain._replace(low=of_folds.low, high=of_folds.high)


def _untrained(found: Sequence[Record]) -> list[str]:
    return [
        f"student did not train: {record.planned.arm} {place(record.planned.seed, record.planned.fold)} is no better "
        "than guessing"
        for record in found
        if record.at_chance
    ]


def _unequal(study: Study, by_arm: Mapping[str, Sequence[Record]]) -> list[str]:
    """Arms whose stages before the last come on top of the epochs that the settings say."""
    lines: list[str] = []
    for arm in study.arms:
        if arm.against and by_arm[arm.name] and by_arm[arm.against]:
            more = by_arm[arm.name][0].epochs - by_arm[arm.against][0].epochs
            if more:
                word = "more" if more > 0 else "fewer"
                lines.append(f"{arm.name} trains {abs(more)} {word} epochs than {arm.against}")
    return lines


def _few(study: Study) -> list[str]:
    few = len(study.seeds) == 1 and study.folds is None
    return ["one seed cannot tell a difference from chance: set seeds=5"] if few else []


def failed_lines(summary: Mapping[str, Any]) -> list[str]:
    """Which runs failed and why, for people."""
    return [f"{each['arm']} {place(each['seed'], each['fold'])}: {each['error']}" for each in summary["failed"]]


def place(seed: int, fold: int | None) -> str:
    """Seed and fold in words."""
    return f"seed {seed}" if fold is None else f"seed {seed} fold {fold}"


def _csv(summary: Summary) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    runs = [(arm["name"], run) for arm in summary["arms"] for run in arm["runs"]]
    scores = [(split, name) for split in ("val", "test") for name in (runs[0][1]["test"] if runs else ())]
    head = ["seed", "fold", "epoch", "at_chance"]
    writer.writerow(["arm", *head, *(f"{split}_{name}" for split, name in scores), "path"])
    for arm, run in runs:
        writer.writerow([arm, *(run[key] for key in head), *(run[split][name] for split, name in scores), run["path"]])
    return text.getvalue()
