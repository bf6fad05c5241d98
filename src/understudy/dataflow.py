"""Which layers a forward pass calls, where all of it passes through a single tensor, and what is activated."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]  # no public common class
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from understudy.taps import evaluating, network_of, overwrites_input

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
aten = torch.ops.aten
# As modules and as functions; those without a second name have no in-place form.
ACTIVATIONS = (
    *(aten.relu, aten.relu_, aten.hardtanh, aten.hardtanh_, aten.leaky_relu, aten.leaky_relu_, aten.elu, aten.elu_),
    *(aten.silu, aten.silu_, aten.mish, aten.mish_, aten.hardswish, aten.hardswish_, aten.gelu, aten._prelu_kernel),
)
SUMS = (aten.add, aten.add_)


class Call(NamedTuple):
    """The last call of one layer.

    Attributes:
        path: Module path.
        module: The layer.
        given: Its first positional argument, or None.
        given_version: Version of `given` when the layer began; a later in-place operation raises it.
        given_norm: The BatchNorm that `given` came from then (see `Flow.norm_of`), or None.
        output: What it gave.
        version: Version of `output` when the layer returned.
        norm: The BatchNorm that `output` came from then, or None.
        activated: Whether an activation made `output`.
        time: Number of tensor operations before it returned.
    """

    path: str
    module: nn.Module
    given: object
    given_version: int
    given_norm: nn.Module | None
    output: object
    version: int
    norm: nn.Module | None
    activated: bool
    time: int

    @property
    def usable(self) -> bool:
        """Whether a hook would read a tensor that no later operation overwrites."""
        return isinstance(self.output, Tensor) and self.output._version == self.version

    @property
    def activates(self) -> bool:
        """Whether it is a layer that does nothing but activate, and not one that passes on what is activated."""
        passes_on = self.output is self.given and self.version == self.given_version
        return self.activated and not passes_on and not list(self.module.children())

    @property
    def usable_input(self) -> bool:
        """Whether a hook would read what goes in: it is kept, or the layer says that it overwrites it (see `taps`)."""
        kept = isinstance(self.given, Tensor) and self.given._version == self.given_version
        return kept or overwrites_input(self.module)


class Flow:
    """One forward pass as it was recorded.

    Args:
        calls: The last call of each layer by path.
        born: When each tensor that depends on the image was made, by identity.
        used: When each was read last.
        weighted: When each convolution and linear layer returned.
        raw: What went into an activation, by the identity of what came out; the same tensor where it is in-place.
        tensors: The tensors themselves; they must live as long as their identities are compared.
    """

    def __init__(
        self,
        calls: dict[str, Call],
        *,
        born: dict[int, int],
        used: dict[int, int],
        weighted: list[int],
        raw: dict[int, Tensor],
        tensors: list[Tensor],
    ) -> None:
        self.calls = calls
        self._born = born
        self._used = used
        self._weighted = weighted
        self._raw = raw
        self._tensors = tensors

    def is_cut(self, call: Call) -> bool:
        """Whether everything that comes later depends on the image through this output alone."""
        key = id(call.output)
        needed = (other for other, last in self._used.items() if last > call.time and self._born[other] <= call.time)
        return key in self._born and all(other == key for other in needed)

    def before_activation(self, output: object) -> Tensor | None:
        """What went into the activation that gave this."""
        return self._raw.get(id(output))

    def is_activated_later(self, output: object) -> bool:
        """Whether this goes into an activation."""
        return any(tensor is output for tensor in self._raw.values())

    def norm_of(self, tap: str) -> Call | None:
        """The BatchNorm whose output a tap reads; of a sum that of the branch with more convolutions, else None.

        Args:
            tap: A layer, or with `:input` behind it what goes into it.
        """
        path, _, end = tap.partition(":")
        call = self.calls.get(path)
        norm = None if call is None else call.given_norm if end else call.norm
        return next((other for other in self.calls.values() if other.module is norm), None)

    def num_weighted(self, call: Call) -> int:
        """Number of convolutions and linear layers that ran up to the end of a call."""
        return sum(time <= call.time for time in self._weighted)


def record(model: nn.Module, image: Tensor) -> Flow:
    """Run one batch in eval mode without gradients and note what happens; the model is left as it was.

    Args:
        model: The model, or a `Classifier`: then paths are those of the network inside.
        image: A batch (batch, channels, height, width) as the model takes it.
    """
    recorder = _Recorder(image)
    modules = [(path, module) for path, module in network_of(model).named_modules() if path]
    handles = [module.register_forward_pre_hook(recorder.before) for _, module in modules]
    handles += [module.register_forward_hook(_After(recorder, path)) for path, module in modules]
    try:
        with evaluating(model), torch.no_grad(), recorder:
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return Flow(
        recorder.calls,
        born=recorder.born,
        used=recorder.used,
        weighted=recorder.weighted,
        raw=recorder.raw,
        tensors=recorder.tensors,
    )


class _Recorder(TorchDispatchMode):
    """Sees every tensor operation, and by its hooks every call of a layer."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.time = 0
        self.tensors = [image]
        self.born = {id(image): 0}
        self.used: dict[int, int] = {}
        self.weighted: list[int] = []
        self.raw: dict[int, Tensor] = {}
        self.calls: dict[str, Call] = {}
        # Layers that have begun, outermost first.
        self._open: list[_Begun] = []
        # By identity of a tensor as it is now: the BatchNorm it came from, whether an activation made it, and how many
        # convolutions stand before it at most.
        self._norms: dict[int, nn.Module | None] = {}
        self._activated: dict[int, bool] = {}
        self._depth: dict[int, int] = {id(image): 0}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.time += 1
        read = [tensor for tensor in _tensors((args, kwargs)) if id(tensor) in self.born]
        for tensor in read:
            self.used[id(tensor)] = self.time
        if read:
            self._note(func.overloadpacket, read, _tensors(result))
        return result

    def _note(self, operation: Any, read: list[Tensor], made: list[Tensor]) -> None:
        deepest = max(read, key=lambda tensor: self._depth[id(tensor)])
        depth = self._depth[id(deepest)] + (operation is aten.convolution)
        norm = self._norm(operation, read, deepest)
        self.tensors += made
        for tensor in made:
            self.born.setdefault(id(tensor), self.time)
            self._depth[id(tensor)] = depth
            self._norms[id(tensor)] = norm
            self._activated[id(tensor)] = operation in ACTIVATIONS
            if operation in ACTIVATIONS:
                self.raw[id(tensor)] = read[0]

    def _norm(self, operation: Any, read: list[Tensor], deepest: Tensor) -> nn.Module | None:
        if self._open and isinstance(self._open[-1].module, _BatchNorm):
            return self._open[-1].module
        # A shortcut has fewer convolutions than what it leads around.
        return self._norms.get(id(deepest)) if operation in SUMS and len(read) > 1 else None

    def before(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        given = inputs[0] if inputs else None
        self._open.append(_Begun(module, given, _version(given), self._norms.get(id(given))))

    def after(self, path: str, module: nn.Module, output: object) -> None:
        _, given, version, given_norm = self._open.pop()
        norm, activated = self._norms.get(id(output)), self._activated.get(id(output), False)
        self.calls[path] = Call(
            path, module, given, version, given_norm, output, _version(output), norm, activated, self.time
        )
        if isinstance(module, WEIGHTED):
            self.weighted.append(self.time)


class _Begun(NamedTuple):
    module: nn.Module
    given: object
    given_version: int
    given_norm: nn.Module | None


class _After:
    def __init__(self, recorder: _Recorder, path: str) -> None:
        self.recorder = recorder
        self.path = path

    def __call__(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        self.recorder.after(self.path, module, output)


def _version(value: object) -> int:
    return value._version if isinstance(value, Tensor) else 0


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
