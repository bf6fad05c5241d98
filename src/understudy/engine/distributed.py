"""One process or many under torchrun."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from understudy.methods.base import Method

# So few send to each other directly.
FEW_PROCESSES = 8


class World(NamedTuple):
    """The processes that train together.

    Attributes:
        rank: Number of this process; the first one writes the files.
        size: How many there are.
        local_rank: Number of this process on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0


def join(device: str = "auto") -> World:
    """Join the processes that torchrun started; alone if it did not start this one.

    Args:
        device: As in the settings: on GPUs each process of a machine takes its own.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return World()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpus = torch.cuda.is_available() and device in ("auto", "cuda")
    if on_gpus:
        # Otherwise every process would talk to the others through the first GPU.
        torch.cuda.set_device(local_rank)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
    return World(dist.get_rank(), dist.get_world_size(), local_rank)


def leave() -> None:
    """Leave the group; harmless when alone."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wait() -> None:
    """Go on when all processes have come here."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def first_goes_ahead(world: World) -> Generator[None]:
    """Let the first process do something alone, such as a download, before the others find it done."""
    if not world.first:
        wait()
    try:
        yield
    finally:
        # Also where the first one failed: the others then find out for themselves.
        if world.first:
            wait()


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes; a new tensor."""
    total = tensor.clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def rows_of_processes(tensor: Tensor) -> Tensor:
    """A tensor of one shape from all processes, in order of rank, stacked (processes, ...)."""
    if not dist.is_initialized():
        return tensor[None]
    tensor, size = tensor.contiguous(), dist.get_world_size()
    rows = tensor.new_empty(size, *tensor.shape)
    if tensor.device.type != "cpu" or size > FEW_PROCESSES:
        dist.all_gather_into_tensor(rows, tensor)
        return rows
    # Everybody sends to everybody: for a few numbers a third of the work of gloo's gathering.
    rank = dist.get_rank()
    others = [other for other in range(size) if other != rank]
    sent = [dist.isend(tensor, other) for other in others]
    for other in others:
        dist.recv(rows[other], other)
    rows[rank] = tensor
    for work in sent:
        assert work is not None
        work.wait()
    return rows


def gather_rows(parts: Sequence[Tensor]) -> list[Tensor]:
    """Rows of several tensors from all processes, in order of rank; processes may hold different numbers of rows."""
    if not dist.is_initialized():
        return list(parts)
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, [part.cpu() for part in parts])
    return [torch.cat(rows).to(part.device) for rows, part in zip(zip(*gathered, strict=True), parts, strict=True)]


def share_buffers(module: nn.Module) -> None:
    """Give all processes the first one's buffers: BatchNorm statistics of its share of the images, say.

    Large ones that all processes change alike (`Method.equal_buffers`) are left out.
    """
    if not dist.is_initialized():
        return
    equal = _equal_buffers(module)
    for name, buffer in module.named_buffers():
        if name not in equal:
            dist.broadcast(buffer, src=0)


def distribute(module: nn.Module, world: World, device: torch.device) -> nn.Module:
    """Wrap the unit that is trained, so that gradients are averaged over the processes.

    All start from the first one's parameters and buffers. At each step it sends its buffers anew, but for those that
    all processes change alike: a memory bank may have gigabytes.
    """
    if world.size == 1:
        return module
    equal = _equal_buffers(module)
    for name in equal:
        dist.broadcast(module.get_buffer(name), src=0)
    # What torch reads before it wraps; there is no public way yet (pytorch issue 43690).
    module._ddp_params_and_buffers_to_ignore = equal  # pyright: ignore[reportArgumentType]
    return DistributedDataParallel(module, device_ids=[device.index] if device.type == "cuda" else None)


def _equal_buffers(module: nn.Module) -> list[str]:
    """Full names of the buffers that all processes change alike."""
    methods = [(path, part) for path, part in module.named_modules() if isinstance(part, Method)]
    return [f"{path}.{name}" if path else name for path, method in methods for name in method.equal_buffers]
