"""Which layers a forward pass calls, and where all of it passes through a single tensor."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from understudy.taps import evaluating, network_of

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class Call(NamedTuple):
    """The last call of one layer.

    Attributes:
        path: Module path.
        module: The layer.
        given: Its first positional argument, or None.
        untouched: Whether `given` was still the same when the layer returned.
        output: What it gave.
        version: Version of `output` at that moment; a later in-place operation raises it.
        time: Number of tensor operations before it returned.
    """

    path: str
    module: nn.Module
    given: object
    untouched: bool
    output: object
    version: int
    time: int

    @property
    def usable(self) -> bool:
        """Whether a hook would read a tensor that no later operation overwrites."""
        return isinstance(self.output, Tensor) and self.output._version == self.version


class Flow:
    """One forward pass as it was recorded.

    Args:
        calls: The last call of each layer by path.
        born: When each tensor that depends on the image was made, by identity.
        used: When each was read last.
        weighted: When each convolution and linear layer returned.
        tensors: The tensors themselves; they must live as long as their identities are compared.
    """

    def __init__(
        self,
        calls: dict[str, Call],
        *,
        born: dict[int, int],
        used: dict[int, int],
        weighted: list[int],
        tensors: list[Tensor],
    ) -> None:
        self.calls = calls
        self._born = born
        self._used = used
        self._weighted = weighted
        self._tensors = tensors

    def is_cut(self, call: Call) -> bool:
        """Whether everything that comes later depends on the image through this output alone."""
        key = id(call.output)
        needed = (other for other, last in self._used.items() if last > call.time and self._born[other] <= call.time)
        return key in self._born and all(other == key for other in needed)

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
        self.calls: dict[str, Call] = {}
        # Layers that have begun, outermost first, with their argument and its version.
        self._open: list[tuple[object, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.time += 1
        read = [tensor for tensor in _tensors((args, kwargs)) if id(tensor) in self.born]
        for tensor in read:
            self.used[id(tensor)] = self.time
        if read:
            made = _tensors(result)
            self.tensors += made
            for tensor in made:
                self.born.setdefault(id(tensor), self.time)
        return result

    def before(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        given = inputs[0] if inputs else None
        self._open.append((given, _version(given)))

    def after(self, path: str, module: nn.Module, output: object) -> None:
        given, version = self._open.pop()
        untouched = isinstance(given, Tensor) and given._version == version
        self.calls[path] = Call(path, module, given, untouched, output, _version(output), self.time)
        if isinstance(module, WEIGHTED):
            self.weighted.append(self.time)


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
