"""Directories of finished runs and studies, made from logits: nothing is trained."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from understudy.evaluation.accuracy import scores
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.statistics import average, holm, paired_difference, sign_test
from understudy.evaluation.summary import summarise
from understudy.record import RunDirectory, write_json, write_text
from understudy.study_record import StudyDirectory
from understudy.yaml_file import yaml_text

SPLITS = ("val", "test")
NUM_IMAGES = 200
KNOWN: dict[tuple[Any, ...], dict[str, Any]] = {}
COST = {"parameters": 20_000, "macs": 350_000, "bytes": 88_000, "latency_ms": 0.5}
TEACHER_COST = {"parameters": 280_000, "macs": 2_400_000, "bytes": 1_150_000, "latency_ms": 1.5}


def predictions(num_right: int, *, num_classes: int = 4, num_images: int = NUM_IMAGES, seed: int = 0) -> Predictions:
    """Logits that are right about the first `num_right` images and give the next class for the others."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_images) % num_classes
    logits = torch.rand(num_images, num_classes, generator=generator)
    answers = torch.where(torch.arange(num_images) < num_right, labels, (labels + 1) % num_classes)
    rows = torch.arange(num_images)
    logits[rows, answers] += 1 + 2 * torch.rand(num_images, generator=generator)
    return Predictions(logits, labels)


def made_run(
    path: Path,
    found: Predictions,
    *,
    teacher: Predictions | None = None,
    method: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    seed: int = 1,
    epochs: int = 3,
) -> RunDirectory:
    """A finished and evaluated run whose student said the same on both splits."""
    run = RunDirectory(path)
    path.mkdir(parents=True)
    names = list(classes or map(str, range(found.logits.shape[1])))
    images = {"train": 100, "val": len(found.labels), "test": len(found.labels)}
    config = {"student": {"name": "cnn-xs"}, "method": [{"name": name} for name in method], "data": {"name": "digits"}}
    write_text(run.config, yaml_text({**config, "train": {"epochs": epochs, "batch_size": 64}, "seed": seed}))
    data = {"name": "digits", "fingerprint": f"{names} {found.labels.sum()}", "classes": names, "notes": []}
    write_json(run.provenance, {"command": ["x/__main__.py", "distill", "seed=1"], "data": data, "versions": {}})
    taught = teacher and {"name": "cnn-m", "cost": TEACHER_COST, **{split: scores(teacher) for split in SPLITS}}
    write_json(
        run.result,
        {
            "student": "cnn-xs",
            "method": list(method),
            "seed": seed,
            "epochs": epochs,
            "selected": {"epoch": 2, "by": "accuracy on the validation split"},
            **{split: scores(found) for split in SPLITS},
            "teacher": taught or None,
            "images": images,
            "cost": COST,
        },
    )
    lines = [_epoch(number, seed, taught=teacher is not None) for number in range(epochs)]
    write_text(run.metrics, "".join(f"{line}\n" for line in lines))
    _evaluate(run, found, teacher, names)
    return run


def made_study(path: Path, arms: dict[str, list[RunDirectory]], *, baseline: str | None) -> StudyDirectory:
    """A finished study of runs that are below `path` already, `path/runs/ARM/seedN`."""
    study = StudyDirectory(path)
    write_text(study.config, yaml_text({"name": "digits-study"}))
    records = [_arm(path, name, runs, baseline=name == baseline) for name, runs in arms.items()]
    against = next((arm for arm in records if arm["baseline"]), None)
    num_runs = sum(map(len, arms.values()))
    write_json(
        study.summary,
        {
            "name": "digits-study",
            "data": "digits",
            "teacher": "cnn-m",
            "student": "cnn-xs",
            "metric": "accuracy",
            "seeds": list(range(1, 1 + max(map(len, arms.values())))),
            "folds": None,
            "baseline": baseline,
            "teacher_result": None,
            "planned": num_runs,
            "finished": num_runs,
            "arms": records,
            "comparisons": [] if against is None else _comparisons(records, against),
            "warnings": [],
            "failed": [],
        },
    )
    return study


def _epoch(number: int, seed: int, *, taught: bool) -> str:
    line: dict[str, Any] = {"step": number, "stage": "train", "kind": "epoch", "epoch": number}
    line |= {"train.loss": 2.0 / (number + seed), "train.ce.raw": 1.0, "train.ce.weighted": 0.5}
    line |= {"train.kd.weighted": 0.25} if taught else {}
    return json.dumps({**line, "val.accuracy": 0.5 + 0.1 * number + 0.01 * seed, "val.nll": 1.0, "val.top5": 1.0})


def _evaluate(run: RunDirectory, found: Predictions, teacher: Predictions | None, names: list[str]) -> None:
    for split in SPLITS:
        found.save(run.logits(split))
        if teacher is not None:
            teacher.save(run.teacher_logits(split))
    latency = {"latency": [{"batch": 1, "p50_ms": 0.4, "p95_ms": 0.6}]}
    own = _summarised(found, names, teacher)
    record = {"name": run.path.name, "data": "digits", "classes": names, "cost": {**COST, **latency}}
    taught = None
    if teacher is not None:
        said = _summarised(teacher, names)
        taught = {"name": "cnn-m", "splits": dict.fromkeys(SPLITS, said), "cost": TEACHER_COST}
    write_json(run.evaluation, {**record, "splits": dict.fromkeys(SPLITS, own), "teacher": taught})


def _summarised(found: Predictions, names: list[str], teacher: Predictions | None = None) -> dict[str, Any]:
    """The same answers occur in many tests: their intervals are computed once."""
    key = (*names, *(None if each is None else each.logits.numpy().tobytes() for each in (found, teacher)))
    if key not in KNOWN:
        KNOWN[key] = summarise(found, names, temperature=1.3, teacher=teacher)
    return KNOWN[key]


def _arm(path: Path, name: str, runs: list[RunDirectory], *, baseline: bool) -> dict[str, Any]:
    results = [run.read_result() for run in runs]
    rows = [
        {
            "seed": result["seed"],
            "fold": None,
            "path": str(run.path.relative_to(path)),
            **{split: result[split] for split in SPLITS},
            "epoch": result["selected"]["epoch"],
            "at_chance": False,
        }
        for run, result in zip(runs, results, strict=True)
    ]
    command = "train" if baseline else "distill"
    own = {} if baseline else {"method": name, "method.temperature": 2}
    means = {
        split: {"accuracy": average([result[split]["accuracy"] for result in results])._asdict()} for split in SPLITS
    }
    record = {"name": name, "baseline": baseline, "command": command, "settings": own, "student": "cnn-xs"}
    return {**record, "runs": rows, **means, "cost": COST}


def _pairs(arm: dict[str, Any], against: dict[str, Any]) -> bool:
    return arm is not against and len(arm["runs"]) > 1


def _comparisons(arms: list[dict[str, Any]], against: dict[str, Any]) -> list[dict[str, Any]]:
    found = [_compared(arm, against) for arm in arms if _pairs(arm, against)]
    known = [1.0 if row["p_t"] is None else row["p_t"] for row in found]
    return [{**row, "p_holm": row["p_t"] and adjusted} for row, adjusted in zip(found, holm(known), strict=True)]


def _compared(arm: dict[str, Any], against: dict[str, Any]) -> dict[str, Any]:
    mine, theirs = ([run["test"]["accuracy"] for run in each["runs"]] for each in (arm, against))
    found, signs = paired_difference(mine, theirs), sign_test(mine, theirs)
    return {
        "arm": arm["name"],
        "against": against["name"],
        "metric": "accuracy",
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "n": found.num_pairs,
        "p_t": found.p_value,
        "p_sign": signs.p_value,
        "wins": signs.wins,
        "losses": signs.losses,
        "ties": signs.ties,
        "seeds_needed": None,
        "mcnemar": {"better": 12, "worse": 5, "p": 0.143},
    }
