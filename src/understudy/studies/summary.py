"""What came out of a study: `study.json` and `study.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from understudy.config import dotted
from understudy.evaluation.statistics import (
    Average,
    average,
    holm,
    image_test,
    paired_difference,
    pairs_needed,
    sign_test,
)
from understudy.experiments.settings import data_name, teacher_names
from understudy.record import write_json, write_text
from understudy.studies.records import Record, Records
from understudy.studies.settings import Arm, Study

Summary = dict[str, Any]

METRIC = "accuracy"


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
    summary: Summary = {
        "name": study.directory.path.name,
        "data": data_name(study.arms[0].settings),
        "teacher": _teacher(study),
        "student": str(study.arms[-1].settings.student["name"]),
        "metric": METRIC,
        "seeds": list(study.seeds),
        "folds": study.folds,
        "baseline": next((arm.against for arm in study.arms if arm.against), None),
        "teacher_result": next((record.result["teacher"] for record in found if record.result["teacher"]), None),
        "planned": len(records.runs),
        "finished": len(found),
        "arms": [_arm(arm, by_arm[arm.name], study) for arm in study.arms],
        "comparisons": _comparisons(study, by_arm),
        "warnings": _warnings(study, found),
        "failed": [
            {"arm": planned.arm, "seed": planned.seed, "fold": planned.fold, "error": error}
            for planned, error in failed
        ],
    }
    write_json(study.directory.summary, summary)
    write_text(study.directory.table, _csv(summary))
    return summary


def _teacher(study: Study) -> str | None:
    chosen = [arm.settings.teacher for arm in study.arms if arm.settings.teacher]
    return " + ".join(teacher_names(chosen[0])) if chosen else None


def _arm(arm: Arm, found: Sequence[Record], study: Study) -> Summary:
    return {
        "name": arm.name,
        "baseline": arm.name in {each.against for each in study.arms},
        "command": arm.command,
        "settings": dotted(arm.own),
        "student": str(arm.settings.student["name"]),
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
    """Over runs; where there are folds, the interval counts each fold once, since seeds on it share all images."""
    plain = average([value for _, value in values])
    if folds is None:
        return plain
    of_folds = average(_by_fold({record.pair: value for record, value in values}), overlap=_overlap(folds))
    return plain._replace(low=of_folds.low, high=of_folds.high)


def _comparisons(study: Study, by_arm: Mapping[str, Sequence[Record]]) -> list[Summary]:
    made = [_comparison(arm, by_arm[arm.name], by_arm[arm.against], study.folds) for arm in study.arms if arm.against]
    found = [each for each in made if each is not None]
    # One whose p-value is not known counts as a comparison all the same.
    known = [1.0 if each["p_t"] is None else each["p_t"] for each in found]
    for each, adjusted in zip(found, holm(known), strict=True):
        each["p_holm"] = None if each["p_t"] is None else adjusted
    return found


def _comparison(arm: Arm, ours: Sequence[Record], theirs: Sequence[Record], folds: int | None) -> Summary | None:
    """An arm against its baseline, paired by seed and fold; None as long as there are fewer than two pairs."""
    baseline = {record.pair: record for record in theirs}
    pairs = [(record, baseline[record.pair]) for record in ours if record.pair in baseline]
    columns = [{pair[0].pair: pair[place].test[METRIC] for pair in pairs} for place in (0, 1)]
    treated, plain = ([*column.values()] if folds is None else _by_fold(column) for column in columns)
    if len(treated) < 2:
        return None
    difference = paired_difference(treated, plain, overlap=0 if folds is None else _overlap(folds))
    signs = sign_test(treated, plain)
    images = image_test(*(np.stack([pair[place].correct for pair in pairs]) for place in (0, 1)))
    known = folds is None and difference.p_value is not None
    return {
        "arm": arm.name,
        "against": arm.against,
        "metric": METRIC,
        "mean": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "n": difference.num_pairs,
        "p_t": difference.p_value,
        # Folds share images, so that how often one of them wins says less than that of as many seeds.
        "p_sign": signs.p_value if folds is None else None,
        "wins": signs.wins,
        "losses": signs.losses,
        "ties": signs.ties,
        "seeds_needed": pairs_needed(difference.mean, _spread(treated, plain)) if known else None,
        "mcnemar": {"better": images.wins, "worse": images.losses, "p": images.p_value},
    }


def _spread(treated: Sequence[float], plain: Sequence[float]) -> float:
    return float(np.std(np.subtract(treated, plain), ddof=1))


def _by_fold(values: Mapping[tuple[int, int | None], float]) -> list[float]:
    """Means over the seeds of each fold."""
    folds = dict.fromkeys(fold for _, fold in values)
    return [float(np.mean([value for (_, other), value in values.items() if other == fold])) for fold in folds]


def _overlap(folds: int) -> float:
    """Held-out images over training images."""
    return 1 / (folds - 1)


def _warnings(study: Study, found: Sequence[Record]) -> list[str]:
    lines = [
        f"student did not train: {record.planned.arm} {place(record.planned.seed, record.planned.fold)} is no better "
        "than guessing"
        for record in found
        if record.at_chance
    ]
    if len(study.seeds) == 1 and study.folds is None:
        lines.append("one seed cannot tell a difference from chance: set seeds=5")
    return lines


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
