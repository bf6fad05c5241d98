"""Checkpoints from elsewhere."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.head import head_of, heads_of

WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "net", "ema")
HEADS = ("fc", "linear", "classifier", "classifier.0", "head", "head.fc", "heads.head", "last_linear")
# Of torchvision's GoogLeNet and Inception: they only help to train, and `from_torchvision` leaves them out.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
NUM_LISTED = 8

State = dict[str, Tensor]


def load_weights(network: nn.Module, path: str | Path, *, replace_head: bool = False) -> list[str]:
    """Load a checkpoint into `network`; every tensor has to fit, nothing stays random unnoticed.

    Read are safetensors and torch files that hold tensors and plain types only. A checkpoint may wrap its state dict
    (`state_dict`, `model`, `model_state`, `model_state_dict`, `net`, `ema`), put one prefix before all keys (`module.`)
    and call its head otherwise (`fc`, `linear`, `classifier`, `head`, ...).

    Args:
        network: Gets the weights; unchanged if they do not fit.
        path: The file.
        replace_head: Leave the head as it is if the checkpoint's has another number of classes.

    Returns:
        What was renamed or left out, a line each.

    Raises:
        UserError: The file is missing, holds code or no tensors, or does not fit; then the keys are listed.
    """
    own: State = network.state_dict()
    state, notes = _unwrap(_read(Path(path)), Path(path))
    state = _without_prefix(state, own, notes)
    state = _without_auxiliary(state, own, notes)
    state = _with_own_head(state, head_of(network), own, notes)
    if replace_head:
        for head in heads_of(network):
            state = _without_other_head(state, head, own, notes)
    counters = {key: own[key] for key in own.keys() - state.keys() if key.endswith("num_batches_tracked")}
    state = {**state, **counters}
    check_fit(state, own, path)
    network.load_state_dict(state)
    return notes


def check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare the tensors of a file with those of a network.

    Args:
        state: Tensors of the file.
        own: Tensors of the network.
        path: The file, for the message.

    Raises:
        UserError: Keys are missing or unexpected, or shapes differ; the message lists them.
    """
    problems = [f"missing {key} {tuple(own[key].shape)}" for key in own if key not in state]
    problems += [f"unexpected {key} {tuple(state[key].shape)}" for key in state if key not in own]
    problems += [
        f"{key} is {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the network"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        more = f"; and {len(problems) - NUM_LISTED} more" if len(problems) > NUM_LISTED else ""
        raise UserError(
            f"'{path}' does not fit the network, choose the model it was made with: "
            f"{'; '.join(problems[:NUM_LISTED])}{more}"
        )


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no checkpoint '{path}': give the path of a safetensors or torch file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"'{path}' holds Python objects, which could run code: tensors only, save its state_dict() instead"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(f"'{path}' is damaged or no file of tensors, get it again: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _unwrap(content: Any, path: Path) -> tuple[State, list[str]]:
    notes: list[str] = []
    while isinstance(content, Mapping):
        wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        notes.append(f"took the tensors under '{wrapper}'")
        content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"'{path}' holds no state dict: save one, bare or under {', '.join(WRAPPERS)}")
    return dict(content), notes


def _without_prefix(state: State, own: State, notes: list[str]) -> State:
    while not state.keys() & own.keys():
        prefix = next(iter(state)).partition(".")[0] + "."
        if not all(key.startswith(prefix) and len(key) > len(prefix) for key in state):
            break
        notes.append(f"removed the prefix '{prefix}'")
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _without_auxiliary(state: State, own: State, notes: list[str]) -> State:
    foreign = [key for key in state if key.startswith(AUXILIARY) and key not in own]
    if foreign:
        notes.append(f"left out auxiliary heads ({len(foreign)} tensors)")
    return {key: value for key, value in state.items() if key not in foreign}


def _with_own_head(state: State, head: str, own: State, notes: list[str]) -> State:
    if f"{head}.weight" in state:
        return state
    foreign = next((name for name in HEADS if f"{name}.weight" in state.keys() - own.keys()), None)
    if foreign is None:
        return state
    notes.append(f"renamed the head '{foreign}' to '{head}'")
    names = {f"{foreign}.{part}": f"{head}.{part}" for part in ("weight", "bias")}
    return {names.get(key, key): value for key, value in state.items()}


def _without_other_head(state: State, head: str, own: State, notes: list[str]) -> State:
    keys = [f"{head}.{part}" for part in ("weight", "bias") if f"{head}.{part}" in own]
    weight = state.get(keys[0])
    if weight is None or weight.shape[0] == own[keys[0]].shape[0]:
        return state
    notes.append(f"the head '{head}' is fresh: {weight.shape[0]} classes in the file, {own[keys[0]].shape[0]} here")
    return {**state, **{key: own[key] for key in keys}}
