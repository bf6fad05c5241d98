"""A trained classifier as one safetensors file that says how to build it again."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from understudy.classifier import Change, Classifier, InputSpec
from understudy.errors import UserError
from understudy.models.base import MODELS
from understudy.models.changes import repeat_changes
from understudy.models.freeze import count_parameters
from understudy.models.naming import find_source
from understudy.models.weights import check_fit
from understudy.record import RunDirectory, write_atomically

METADATA_KEY = "understudy"
VERSION = 2
# Version 1 knows no changes.
READABLE = (1, VERSION)
# The default name of a Classifier.
UNNAMED = "custom"


class Header(NamedTuple):
    """What a saved file says about its classifier.

    Attributes:
        name: The name `create_model` takes.
        settings: Architecture settings.
        classes: Class names in the order of the logits.
        spec: What the network wants to see.
        changes: What was done to the network's structure after it was built.
    """

    name: str
    settings: dict[str, Any]
    classes: tuple[str, ...]
    spec: InputSpec
    changes: tuple[Change, ...]


def save_model(model: Classifier, path: str | Path) -> None:
    """Write the network's tensors, and in the metadata what rebuilds it; an interrupted save leaves the old file.

    Args:
        model: Its name must be one that `create_model` takes, for the file to be loaded again without its network.
        path: The file, by custom ending in `.safetensors`.
    """
    # Clones: safetensors refuses tied and non-contiguous tensors.
    tensors = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.network.state_dict().items()
    }
    description = {
        "version": VERSION,
        "name": model.name,
        "settings": model.settings,
        "classes": model.classes,
        "spec": model.spec.to_dict(),
        "changes": model.changes,
        "num_parameters": sum(count_parameters(model.network)),
    }
    content = save(tensors, {METADATA_KEY: json.dumps(description)})
    write_atomically(Path(path), lambda file: file.write(content))


def load_model(path: str | Path, *, network: nn.Module | None = None) -> Classifier:
    """The classifier that `save_model` wrote, in eval mode on the CPU; nothing is downloaded.

    Args:
        path: The file, or a run directory with a `student.safetensors`.
        network: The network as it was built, for one that has no name because it was built in Python; gets the
            weights in place.

    Raises:
        UserError: The file is missing, damaged, or was not written by `save_model`, or the network is not as it was
            built.
    """
    path = _file(Path(path))
    header = read_header(path)
    network = _build(header, path) if network is None else network
    try:
        repeat_changes(network, header.changes)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' does not fit the network, choose the model it was made with: {error}") from error
    tensors = load_file(path)
    check_fit(tensors, network.state_dict(), path)
    network.load_state_dict(tensors)
    model = Classifier(
        network,
        spec=header.spec,
        classes=header.classes,
        name=header.name,
        settings=header.settings,
        changes=header.changes,
    )
    return model.eval()


def is_saved(name: str) -> bool:
    """Whether `name` is a file or run directory for `load_model`, rather than a name of an architecture."""
    return name.endswith(".safetensors") or (name not in MODELS and Path(name).is_dir())


def read_header(path: str | Path) -> Header:
    """What a file of `save_model` says about itself, without its tensors.

    Args:
        path: The file or a run directory.

    Raises:
        UserError: The file is missing, damaged, or was not written by `save_model`.
    """
    path = _file(Path(path))
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' is damaged or no safetensors file: {error}") from error
    if METADATA_KEY not in metadata:
        raise UserError(f"'{path}' was not saved by understudy: name the model and give the file as weights")
    try:
        return _parse(json.loads(metadata[METADATA_KEY]), path)
    except (KeyError, TypeError) as error:
        raise UserError(f"'{path}' is damaged: its description lacks or misuses {error}") from error


def _build(header: Header, path: Path) -> nn.Module:
    if header.name == UNNAMED:
        raise UserError(
            f"'{path}' holds a network that was built in Python: build it again and use load_model(path, network=...)"
        )
    source = find_source(header.name)
    return source.build(
        num_classes=len(header.classes), channels=header.spec.channels, settings=header.settings, download=False
    ).network


def _parse(description: dict[str, Any], path: Path) -> Header:
    if description["version"] not in READABLE:
        raise UserError(
            f"'{path}' has format {description['version']}, not {VERSION} or below: use the understudy that wrote it"
        )
    return Header(
        name=description["name"],
        settings=description["settings"],
        classes=tuple(description["classes"]),
        spec=InputSpec.from_dict(description["spec"]),
        changes=tuple(Change(name, settings) for name, settings in description.get("changes", [])),
    )


def _file(path: Path) -> Path:
    file = RunDirectory(path).student if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"no saved model '{file}': give a run directory or a file written by save_model")
    return file
