"""Read named features of any model, by forward hooks."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from understudy.branches import Branches, branches_of
from understudy.branches.base import pooled
from understudy.classifier import Classifier
from understudy.errors import UserError, did_you_mean
from understudy.layout import as_map
from understudy.types import Outputs

IMAGE = "image"
"""The tap that is the image itself, in 0..1, as a leaf that gradients can be taken at."""

MIRRORED_LOGITS = "logits:mirrored"
"""The tap that is the logits of the images mirrored left to right, by a second pass through the model."""

IMAGE_GRADIENT = "image:gradient"
"""A teacher's tap (see `understudy.teachers.Teacher`): the gradient of each image's label loss at the image."""

EXITS = "exits"
"""The tap that is the early exits (see `understudy.branches`): `Outputs.exits`, and what each classifier reads."""

_NO_LAYERS = (IMAGE, MIRRORED_LOGITS, EXITS)

Shapes = dict[str, tuple[int, ...]]
"""Shapes of tapped features by layer name, without the batch axis."""


def exit_feature(number: int) -> str:
    """Name of the vectors (batch, width) that the classifier of an exit reads; the network's own is the last."""
    return f"{EXITS}:{number}"


class Tapped(nn.Module):
    """A model that also returns the output of named layers.

    A tap is a module path as in `model.named_modules()`, for a `Classifier` that of its network: `layer1`. With
    `:input` behind it, `layer1:input`, it is what goes into the layer; of a layer that overwrites its input, such as an
    in-place activation, it is a copy made before. A module that is called several times gives its last call. Features
    come with channels first, also those of transformers (see `understudy.layout.as_map`).

    Three taps are no layers: `IMAGE`, the image as the model sees it before its own preprocessing, `MIRRORED_LOGITS`, a
    pass that leaves running statistics alone, and `EXITS`, for a network that has early exits.

    Args:
        model: Images -> logits (batch, classes).
        taps: What to read.

    Raises:
        UserError: There is no such layer; the message names the closest.
    """

    def __init__(self, model: nn.Module, taps: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model
        self.taps = tuple(dict.fromkeys(taps))
        self._seen: dict[str, Tensor] = {}
        network = network_of(model)
        layers = [tap for tap in self.taps if tap not in _NO_LAYERS]
        # What the classifier of each exit reads.
        self._readers: tuple[str, ...] = ()
        if EXITS in self.taps:
            branches = _branches(network)
            self._readers = tuple(f"{path}:input" for path in branches.readers())
            layers += [*branches.points, *self._readers]
        self._handles = [
            _attach(_layer(network, tap), _Recorder(self._seen, tap), tap) for tap in dict.fromkeys(layers)
        ]

    def forward(self, image: Tensor) -> Outputs:
        """Images (batch, channels, height, width) -> logits and the tapped features."""
        if IMAGE in self.taps:
            image = _leaf(image)
            self._seen[IMAGE] = image
        logits = self.model(image)
        # Reading by self.taps makes them part of what Dynamo guards: it reuses one graph for all modules of a class.
        size = size_seen(self.model, image)
        exits = self._exits(size) if EXITS in self.taps else ()
        features = {tap: as_map(self._seen[tap], size) for tap in self.taps if tap not in (MIRRORED_LOGITS, EXITS)}
        features |= {exit_feature(i): pooled(self._seen[tap]) for i, tap in enumerate(self._readers)}
        if MIRRORED_LOGITS in self.taps:
            features[MIRRORED_LOGITS] = self._mirrored(image)
        self._seen.clear()
        return Outputs(logits, features, exits)

    def _exits(self, size: tuple[int, int]) -> tuple[Tensor, ...]:
        branches = _branches(network_of(self.model))
        return tuple(branches.answer(i, self._seen[point], size) for i, point in enumerate(branches.points))

    def _mirrored(self, image: Tensor) -> Tensor:
        # BatchNorm moves the copies of its buffers: the statistics are those of one pass, as without this tap.
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        return functional_call(self.model, buffers, image.flip(3))

    def remove(self) -> None:
        """Take the hooks off the model; afterwards this module reads nothing."""
        for handle in self._handles:
            handle.remove()

    def untapped(self) -> nn.Module:
        """The model without the hooks: a copy, or the model itself where there are none."""
        if not self.taps:
            return self.model
        copy = deepcopy(self)
        copy.remove()
        return copy.model


def _branches(network: nn.Module) -> Branches:
    branches = branches_of(network)
    if branches is None:
        raise UserError(f"this {type(network).__name__} has no early exits: set student.exits=auto")
    return branches


def _leaf(image: Tensor) -> Tensor:
    pixels = image / 255 if image.dtype == torch.uint8 else image
    return pixels.detach().requires_grad_()


class _Recorder:
    """A hook that survives a deep copy: the copy records into the copied dict."""

    def __init__(self, seen: dict[str, Tensor], tap: str) -> None:
        self.seen = seen
        self.tap = tap

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None = None) -> None:
        self.seen[self.tap] = _kept(module, inputs[0]) if output is None else output


class _Seen(NamedTuple):
    tensor: object
    version: int


class _Versions:
    """A hook that notes which version of a tensor a layer gave."""

    def __init__(self) -> None:
        self.seen: dict[str, _Seen] = {}

    def at(self, tap: str) -> "_VersionHook":
        return _VersionHook(self, tap)

    def overwritten(self, tap: str) -> bool:
        tensor, version = self.seen[tap]
        return isinstance(tensor, Tensor) and tensor._version != version

    def usable(self, tap: str) -> bool:
        return tap in self.seen and isinstance(self.seen[tap].tensor, Tensor) and not self.overwritten(tap)


class _VersionHook:
    def __init__(self, versions: _Versions, tap: str) -> None:
        self.versions = versions
        self.tap = tap

    def __call__(self, module: nn.Module, inputs: tuple[object, ...], output: object = None) -> None:
        tensor = _kept(module, inputs[0]) if self.tap.endswith(":input") else output
        self.versions.seen[self.tap] = _Seen(tensor, tensor._version if isinstance(tensor, Tensor) else 0)


def overwrites_input(module: nn.Module) -> bool:
    """Whether a layer says that it writes its output over its input, as `ReLU(inplace=True)` does."""
    return getattr(module, "inplace", False) is True


def _kept(module: nn.Module, given: Any) -> Any:
    """What goes into a layer, as a copy where the layer overwrites it."""
    return given.clone() if overwrites_input(module) and isinstance(given, Tensor) else given


def network_of(model: nn.Module) -> nn.Module:
    """The module whose layer names a user knows: the network inside a `Classifier`, else the model itself."""
    return model.network if isinstance(model, Classifier) else model


def size_seen(model: nn.Module, image: Tensor) -> tuple[int, int]:
    """Height and width of what the network inside sees."""
    resized = model.spec.size if isinstance(model, Classifier) else None
    return resized or (image.shape[-2], image.shape[-1])


def layer_names(model: nn.Module) -> list[str]:
    """All layer names that can be tapped, in order of definition."""
    return [name for name, _ in network_of(model).named_modules() if name]


@contextmanager
def evaluating(module: nn.Module) -> Generator[None]:
    """Eval mode inside the block; each module gets its own `training` flag back behind it."""
    flags = [(part, part.training) for part in module.modules()]
    # Setting a flag is slow: half a millisecond for ResNet-18, for each image that a model in eval mode is asked about.
    if any(training for _, training in flags):
        module.eval()
    try:
        yield
    finally:
        for part, training in flags:
            if part.training != training:
                part.training = training


def probe(model: nn.Module, image: Tensor, taps: Sequence[str]) -> Shapes:
    """Run one batch in eval mode without gradients and return the shapes of the tapped layers' features.

    Args:
        model: The model behind the taps; its state is left as it was.
        image: A batch (batch, channels, height, width) as the model takes it.
        taps: What to read.

    Raises:
        UserError: A tap does not exist, is not reached, gives no tensor, or is overwritten by a later in-place
            operation, so that a hook would read something else; the message names layers that work.
    """
    network = network_of(model)
    taps = [tap for tap in taps if tap not in _NO_LAYERS]
    versions = _Versions()
    handles = [_attach(_layer(network, tap), versions.at(tap), tap) for tap in (*taps, *layer_names(model))]
    try:
        with evaluating(model), torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    for tap in taps:
        _check_tap(tap, versions)
    return {tap: _shape(versions.seen[tap].tensor, size_seen(model, image)) for tap in taps}


def _shape(tensor: object, size: tuple[int, int]) -> tuple[int, ...]:
    assert isinstance(tensor, Tensor)
    return tuple(as_map(tensor, size).shape[1:])


def _check_tap(tap: str, versions: _Versions) -> None:
    if tap not in versions.seen:
        raise UserError(f"layer '{tap}' is never reached by the model's forward; tap another layer")
    seen = versions.seen[tap].tensor
    if not isinstance(seen, Tensor):
        raise UserError(
            f"layer '{tap}' gives a {type(seen).__name__}, not one tensor; tap a layer inside it or behind it"
        )
    if versions.overwritten(tap):
        raise UserError(
            f"layer '{tap}' is overwritten in place by a later operation; tap {_neighbours(tap, versions)} instead"
        )


def _neighbours(tap: str, versions: _Versions) -> str:
    """Usable layers closest to a tap: its enclosing modules and their other children."""
    parent = tap.split(":")[0].rpartition(".")[0]
    while parent:
        near = [name for name in versions.seen if versions.usable(name) and name.rpartition(".")[0] == parent]
        found = [parent, *near] if versions.usable(parent) else near
        if found:
            return " or ".join(f"'{name}'" for name in found[:3])
        parent = parent.rpartition(".")[0]
    return "another layer"


def _layer(network: nn.Module, tap: str) -> nn.Module:
    path, _, end = tap.partition(":")
    modules = dict(network.named_modules())
    if end not in ("", "input") or path not in modules or not path:
        names = [name for name in modules if name]
        raise UserError(f"no layer '{tap}' in {type(network).__name__}: {did_you_mean(path, names)}")
    return modules[path]


def _attach(layer: nn.Module, hook: "_Recorder | _VersionHook", tap: str) -> torch.utils.hooks.RemovableHandle:
    if tap.endswith(":input"):
        return layer.register_forward_pre_hook(hook)
    return layer.register_forward_hook(hook)
