"""Where a result comes from."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from understudy.errors import UserError
from understudy.experiments.assembly import Assembly
from understudy.taps import network_of


def provenance(made: Assembly) -> dict[str, Any]:
    """Versions, command, commit of the working directory, machine, and hashes of data and teacher."""
    return {
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {name: _version(name) for name in ("understudy", "torch", "torchvision", "timm", "numpy")}
        | {"python": platform.python_version()},
        "machine": {
            "device": _device_name(made.device),
            "processes": made.world.size,
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
        },
        "data": {
            "name": made.data.name,
            "fingerprint": made.data.fingerprint(),
            "images": {split: len(made.split(split)) for split in ("train", "val", "test")},
            "classes": list(made.data.classes),
            "notes": list(made.data.notes),
        },
        "teacher": made.teacher and {"sha256": weights_hash(made.teacher.tapped.model)},
        "notes": list(made.notes),
    }


def check_same_origin(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other data or another teacher than a run began with.

    Raises:
        UserError: They have changed behind their names.
    """
    for part, key in (("data", "fingerprint"), ("teacher", "sha256")):
        if before and (before.get(part) or {}).get(key) != (now.get(part) or {}).get(key):
            raise UserError(f"the {part} changed since this run began: bring it back, or choose another out=DIR")


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over the names and bytes of a network's parameters and buffers, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network_of(model).state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.processor()})"


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
