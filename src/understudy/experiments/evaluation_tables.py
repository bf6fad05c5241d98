"""An evaluation as tables for a terminal."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from understudy.experiments.tables import count_text, table_of

Record = Mapping[str, Any]
SHARES = ("accuracy", "top5", "confidence", "agreement", "shared_errors", "shared_errors_expected")
NAMES = {
    "top5": "top-5 accuracy",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "ece": "calibration error",
    "ece_adaptive": "adaptive",
    "ece_classwise": "class-wise",
    "entropy": "entropy (nats)",
    "virtual_kld": "KL from virtual teacher",
    "kl": "KL (nats)",
    "gap": "logit gap",
    "gap_centred": "logit gap, centred",
    "shared_errors": "shared errors",
    "shared_errors_expected": "expected if independent",
}
SCORES = ("accuracy", "top5", "nll", "brier", "entropy", "confidence", "virtual_kld")
ERRORS = ("ece", "ece_adaptive", "ece_classwise")
FIDELITY = ("agreement", "kl", "gap", "gap_centred", "shared_errors", "shared_errors_expected")
SPLITS = {"val": "validation", "test": "test"}
# Classes in the table; with more than these the worst are shown.
NUM_CLASSES = 10


def evaluation_tables(record: Record) -> list[Table]:
    """What `evaluate_model` found, from scores to cost.

    Args:
        record: As in `evaluation.json`.
    """
    tables = [_scores(record), _calibration(record)]
    if any(split["fidelity"] for split in record["splits"].values()):
        tables.append(_fidelity(record))
    return [*tables, _classes(record), _costs(record)]


def _sides(record: Record) -> list[tuple[str, Record]]:
    teacher = record["teacher"]
    return [("student" if teacher else "model", record)] + ([("teacher", teacher)] if teacher else [])


def _columns(record: Record) -> dict[str, Record]:
    """Each split of each model by what stands above its column."""
    return {
        f"{side}, {SPLITS[split]}": found for side, model in _sides(record) for split, found in model["splits"].items()
    }


def _scores(record: Record) -> Table:
    columns = _columns(record)
    table = table_of("", *columns)
    table.title = f"{record['name']} on {record['data']}"
    table.add_row("images", *(f"{found['images']:,}" for found in columns.values()))
    for key in (*SCORES, *ERRORS):
        if all(key in found["scores"] for found in columns.values()):
            table.add_row(NAMES.get(key, key), *(_with_interval(key, found) for found in columns.values()))
    table.caption = "in brackets: 95 % interval over other samples of images"
    return table


def _with_interval(key: str, found: Record) -> str:
    value, ends = _text(key, found["scores"][key]), found["intervals"].get(key)
    return f"{value} [{_text(key, ends[0])}, {_text(key, ends[1])}]" if ends else value


def _calibration(record: Record) -> Table:
    split = "test" if "test" in record["splits"] else "val"
    table = table_of(f"calibration on {SPLITS[split]}", "NLL", "Brier", "error", "floor", "adaptive", "class-wise")
    for side, model in _sides(record):
        found = model["splits"][split]
        _add_calibration(table, side, found)
        if found["temperature"]:
            _add_calibration(table, f"{side}, T={found['temperature']['value']:.3f}", found["temperature"])
    table.caption = (
        "T: temperature fitted on the validation split; no image changes its class\n"
        "floor: the error that a perfectly calibrated model shows on so many images, mean and 95 % range; "
        "!: above it"
    )
    return table


def _add_calibration(table: Table, name: str, found: Record) -> None:
    scores, floor = found["scores"], found["ece_floor"]
    errors = [f"{scores[key]:.4f}{'!' if scores[key] > found[f'{key}_floor']['high'] else ''}" for key in ERRORS]
    range_ = f"{floor['mean']:.4f} [{floor['low']:.4f}, {floor['high']:.4f}]"
    table.add_row(name, f"{scores['nll']:.4f}", f"{scores['brier']:.4f}", errors[0], range_, *errors[1:])


def _fidelity(record: Record) -> Table:
    splits = {name: found["fidelity"] for name, found in record["splits"].items() if found["fidelity"]}
    table = table_of("student against teacher", *(SPLITS[name] for name in splits))
    for key in FIDELITY:
        table.add_row(NAMES.get(key, key), *(_text(key, found[key]) for found in splits.values()))
    counts = ", ".join(f"{found['teacher_errors']} on {SPLITS[name]}" for name, found in splits.items())
    table.caption = f"shared errors: of the teacher's ({counts}), those with the same wrong class"
    return table


def _classes(record: Record) -> Table:
    split = "test" if "test" in record["splits"] else "val"
    rows = record["splits"][split]["per_class"]
    table = table_of(f"class on {SPLITS[split]}", "images", "accuracy", "precision")
    for row in worst_classes(rows, NUM_CLASSES):
        table.add_row(row["class"], f"{row['images']:,}", _text("accuracy", row["accuracy"]), _share(row["precision"]))
    if len(rows) > NUM_CLASSES:
        table.caption = f"the {NUM_CLASSES} least accurate of {len(rows)} classes"
    return table


def worst_classes(rows: list[Record], most: int) -> list[Record]:
    """The classes that are recognised least, or all in their order where there are no more than `most`."""
    if len(rows) <= most:
        return rows
    return sorted((row for row in rows if row["images"]), key=lambda row: row["accuracy"])[:most]


def _costs(record: Record) -> Table:
    batches = [found["batch"] for found in record["cost"]["latency"]]
    columns = ("parameters", "MACs", "weights", "file", "peak memory")
    table = table_of("cost", *columns, *(f"ms, batch {batch}" for batch in batches))
    for side, model in _sides(record):
        cost = model["cost"]
        times = {found["batch"]: _times(found) for found in cost["latency"]}
        counts = [count_text(cost[key]) for key in ("parameters", "macs")]
        counts += [_size(cost[key]) for key in ("bytes", "file_bytes", "peak_memory_bytes")]
        table.add_row(side, *counts, *(times.get(batch, "") for batch in batches))
    device = record["cost"]["device"]
    table.caption = f"milliseconds of a whole batch on this machine ({device or 'as trained'}): median, 95th percentile"
    return table


def _times(found: Record) -> str:
    return f"{found['p50_ms']:.2f}" + ("" if found["p95_ms"] is None else f", {found['p95_ms']:.2f}")


def _size(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _number(value: float) -> str:
    return f"{value:.4f}"


def _text(key: str, value: float | None) -> str:
    if value is None:
        return ""
    write: Callable[[float], str] = _share if key in SHARES else _number
    return write(value)
