"""What a model costs, as it stands in `evaluation.json`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from understudy.evaluation.cost import count_bytes, count_macs, count_parameters
from understudy.evaluation.latency import measure_latency
from understudy.evaluation.memory import peak_memory
from understudy.models.saved import is_saved
from understudy.record import RunDirectory
from understudy.taps import evaluating

Record = dict[str, Any]


def cost_record(model: nn.Module, image: Tensor, *, file_bytes: int | None) -> Record:
    """Measure everything on the model's device, in some seconds.

    Args:
        model: Images -> logits.
        image: One image as the model takes it (1, channels, height, width), on the model's device.
        file_bytes: Size of the file it came from, where there is one.
    """
    with evaluating(model):
        macs = count_macs(model, image)
    return {
        "parameters": count_parameters(model),
        "macs": macs,
        "bytes": count_bytes(model),
        "file_bytes": file_bytes,
        "peak_memory_bytes": peak_memory(model, image),
        "latency": [
            {"batch": found.batch, "p50_ms": found.p50_ms, "p95_ms": found.p95_ms, "passes": found.passes}
            for found in measure_latency(model, image)
        ],
        "device": image.device.type,
    }


def known_cost(cost: Mapping[str, Any], *, file_bytes: int | None = None) -> Record:
    """What a run's result says about the cost of a model that is not there any more; None is unknown.

    Args:
        cost: `understudy.evaluation.cost.Cost` as a dict.
        file_bytes: Size of the file, where there is one.
    """
    return {
        "parameters": cost["parameters"],
        "macs": cost["macs"],
        "bytes": cost["bytes"],
        "file_bytes": file_bytes,
        "peak_memory_bytes": None,
        "latency": [{"batch": 1, "p50_ms": cost["latency_ms"], "p95_ms": None, "passes": None}],
        "device": None,
    }


def saved_bytes(names: Sequence[str]) -> int | None:
    """Size on the disk of models that were saved, by run directory or file; None if one has no file of its own."""
    if not all(map(is_saved, names)):
        return None
    paths = [RunDirectory(name).student if Path(name).is_dir() else Path(name) for name in names]
    return sum(path.stat().st_size for path in paths)
