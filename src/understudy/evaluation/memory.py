"""How much memory a forward pass takes."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from understudy.evaluation.cost import count_bytes
from understudy.taps import evaluating


def peak_memory(model: nn.Module, image: Tensor) -> int:
    """Bytes that answering one image takes: the weights, the image, and the most that lies beside them at once.

    On a GPU that is what torch's allocator hands out. Elsewhere it is the tensors that operations give, as long as they
    live; the work space that a kernel takes for itself is not seen (with ResNet-50 on a CPU 6 % of what lies beside).

    Args:
        model: Images -> logits; its mode is left as it was.
        image: One image as the model takes it (1, channels, height, width), on the model's device.
    """
    beside = _beside_on_gpu if image.device.type == "cuda" else _beside
    with evaluating(model), torch.no_grad():
        # The first pass may prepare something that stays.
        model(image)
        return count_bytes(model) + image.numel() * image.element_size() + beside(model, image)


def _beside_on_gpu(model: nn.Module, image: Tensor) -> int:
    torch.cuda.synchronize(image.device)
    torch.cuda.reset_peak_memory_stats(image.device)
    before = torch.cuda.memory_allocated(image.device)
    model(image)
    torch.cuda.synchronize(image.device)
    return torch.cuda.max_memory_allocated(image.device) - before


def _beside(model: nn.Module, image: Tensor) -> int:
    with _LiveTensors() as living:
        model(image)
    return living.most


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of what operations give inside the block, until it is freed.

    Attributes:
        most: Bytes that lived at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the operation; what it gives in memory of its own is counted."""
        given = {_place(tensor) for tensor in _tensors((args, kwargs))}
        found = func(*args, **(kwargs or {}))
        for tensor in _tensors(found):
            place = _place(tensor)
            if place not in given and place not in self._sizes:
                storage = tensor.untyped_storage()
                self._sizes[place] = storage.nbytes()
                weakref.finalize(storage, self._sizes.pop, place)
        self.most = max(self.most, sum(self._sizes.values()))
        return found


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
