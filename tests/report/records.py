"""Directories of runs and studies as their commands leave them, made from real runs on the digits."""

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.evaluation.calibration import brier_score, calibration_error, mean_entropy, reliability
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.statistics import paired_difference
from understudy.record import RunDirectory, write_json, write_text
from understudy.study_record import StudyDirectory
from understudy.yaml_file import yaml_text


def evaluate(path: Path, teacher: Path | None = None) -> None:
    """Write `evaluation.json`, and the logits of the teacher, of a finished run."""
    run = RunDirectory(path)
    result, classes = run.read_result(), run.read_provenance()["data"]["classes"]
    record = {"name": result["student"], "data": "digits", "classes": classes, **_measured(run, classes)}
    record["teacher"] = None
    if teacher is not None:
        taught = RunDirectory(teacher)
        for split in ("val", "test"):
            shutil.copy(taught.logits(split), run.teacher_logits(split))
            mine, theirs = (Predictions.load(each.logits(split)) for each in (run, taught))
            record["splits"][split]["fidelity"] = _fidelity(mine, theirs)
        record["teacher"] = {"name": "cnn-s", **_measured(taught, classes)}
    write_json(run.path / "evaluation.json", record)


def write_study(path: Path, *, arms: dict[str, dict[str, Any]], baseline: str | None, seeds: Sequence[int]) -> None:
    """Write the files of a study whose runs are below `path` already, those of some with a teacher in `path/teacher`.

    Args:
        arms: Their names with the settings that are their own.
    """
    study = StudyDirectory(path)
    write_text(study.config, yaml_text({"name": path.name, "seeds": list(seeds), "arms": arms}))
    made = [_arm(study, name, own, seeds, baseline=name == baseline) for name, own in arms.items()]
    rows = [_compared(arm, next(each for each in made if each["baseline"])) for arm in made if baseline is not None]
    write_json(
        study.summary,
        {
            "name": path.name,
            "data": "digits",
            "teacher": str(path / "teacher"),
            "student": "cnn-xs",
            "metric": "accuracy",
            "seeds": list(seeds),
            "folds": None,
            "baseline": baseline,
            "teacher_result": None,
            "planned": len(arms) * len(seeds),
            "finished": len(arms) * len(seeds),
            "arms": made,
            "comparisons": [row for row in rows if row["arm"] != baseline],
            "warnings": [],
            "failed": [],
        },
    )


def _arm(
    study: StudyDirectory, name: str, own: dict[str, Any], seeds: Sequence[int], *, baseline: bool
) -> dict[str, Any]:
    results = [study.run(name, seed).read_result() for seed in seeds]
    return {
        "name": name,
        "baseline": baseline,
        "command": "train" if baseline else "distill",
        "settings": own,
        "student": "cnn-xs",
        "runs": [
            {
                "seed": seed,
                "fold": None,
                "path": f"runs/{name}/seed{seed}",
                "val": result["val"],
                "test": result["test"],
                "epoch": result["selected"]["epoch"],
                "at_chance": False,
            }
            for seed, result in zip(seeds, results, strict=True)
        ],
        **{split: {"accuracy": _spread([r[split]["accuracy"] for r in results])} for split in ("val", "test")},
        "cost": results[0]["cost"],
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "std": None, "n": 1, "low": None, "high": None}
    found = paired_difference(values, [0.0] * len(values))
    return {"mean": mean, "std": statistics.stdev(values), "n": len(values), "low": found.low, "high": found.high}


def _compared(arm: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    mine, theirs = ([run["test"]["accuracy"] for run in each["runs"]] for each in (arm, baseline))
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    row: dict[str, Any] = {"arm": arm["name"], "against": baseline["name"], "metric": "accuracy", "n": len(mine)}
    row |= {"mean": statistics.fmean(differences), "low": None, "high": None, "p_t": None, "p_sign": None}
    if len(mine) > 1:
        found = paired_difference(mine, theirs)
        row |= {"low": found.low, "high": found.high, "p_t": found.p_value, "p_sign": 0.5}
    counts = {"wins": sum(d > 0 for d in differences), "losses": sum(d < 0 for d in differences)}
    mcnemar = {"better": 40, "worse": 21, "p": 0.02}
    return row | counts | {"ties": sum(d == 0 for d in differences), "seeds_needed": 7, "mcnemar": mcnemar}


def _measured(run: RunDirectory, classes: Sequence[str]) -> dict[str, Any]:
    cost = run.read_result()["cost"]
    latency = [{"batch": n, "p50_ms": n * cost["latency_ms"], "p95_ms": 2 * n * cost["latency_ms"]} for n in (1, 8, 32)]
    splits = {split: _split(run.read_result()[split], Predictions.load(run.logits(split)), classes)
              for split in ("val", "test")}
    kept = {key: cost[key] for key in ("parameters", "macs", "bytes")}
    return {"splits": splits, "cost": {**kept, "file_bytes": cost["bytes"] + 900, "latency": latency}}


def _split(scores: dict[str, float], found: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    right = found.logits.argmax(1) == found.labels
    half = 1.96 * float(right.double().std()) / len(right) ** 0.5
    measured = {"brier": brier_score(found), "ece": calibration_error(found), "entropy": mean_entropy(found)}
    table = [
        {"class": name, "images": int((found.labels == k).sum()), "accuracy": right[found.labels == k].double().mean().item()}
        for k, name in enumerate(classes)
    ]
    bins = [{"low": b.low, "high": b.high, "images": int(b.num_images), "confidence": _known(b.confidence), "accuracy": _known(b.accuracy)} for b in reliability(found)]
    accuracy = scores["accuracy"]
    return {
        "images": len(right),
        "scores": {**scores, **measured},
        "intervals": {"accuracy": [max(accuracy - half, 0), min(accuracy + half, 1)]},
        "ece_floor": {"mean": 0.02, "low": 0.012, "high": 0.03},
        "per_class": table,
        "reliability": bins,
        "fidelity": None,
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _fidelity(student: Predictions, teacher: Predictions) -> dict[str, float]:
    agree = (student.logits.argmax(1) == teacher.logits.argmax(1)).double().mean().item()
    gap = (student.logits - teacher.logits).square().mean().item()
    return {"agreement": agree, "gap": gap}
