"""What losses on feature maps have in common."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from understudy.losses.checks import at_least_float32

Pooling = Literal["mean", "max"]


def check_pair(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that are not two batches of maps of the same images.

    Raises:
        ValueError: One is not (batch, channels, height, width), the batches differ, or one is empty.
    """
    shapes = f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
        raise ValueError(f"student and teacher maps must be (batch, channels, height, width) of one batch, {shapes}")
    if student.numel() == 0 or teacher.numel() == 0:
        raise ValueError(f"maps must not be empty, {shapes}")


def prepared(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Checked maps in float32 or better, the teacher's without its graph.

    Raises:
        ValueError: As `check_pair`.
    """
    check_pair(student, teacher)
    return at_least_float32(student), at_least_float32(teacher.detach())


def pool_to_smaller(first: Tensor, second: Tensor, *, pooling: Pooling = "mean") -> tuple[Tensor, Tensor]:
    """Both maps at the smaller height and width of the two.

    Args:
        first: (batch, channels, height, width).
        second: As `first`, of any size.
        pooling: What stands for a window of the larger map.
    """
    size = min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3])
    return pool_to(first, size, pooling=pooling), pool_to(second, size, pooling=pooling)


def pool_to(values: Tensor, size: tuple[int, int], *, pooling: Pooling = "mean") -> Tensor:
    """A map at a smaller height and width.

    Where the sizes divide evenly the gradient repeats itself; elsewhere windows overlap, and on CUDA its last bits
    differ from run to run.

    Args:
        values: (batch, channels, height, width).
        size: Height and width wanted, at most those of `values`.
        pooling: What stands for a window.
    """
    if values.shape[2:] == size:
        return values
    if values.shape[2] % size[0] or values.shape[3] % size[1]:
        return adaptive_avg_pool2d(values, size) if pooling == "mean" else adaptive_max_pool2d(values, size)
    # Not adaptive pooling: its gradient is not deterministic on CUDA.
    cells = values.unflatten(3, (size[1], -1)).unflatten(2, (size[0], -1))
    return cells.mean((3, 5)) if pooling == "mean" else cells.amax((3, 5))


def pooling_layer(before: Sequence[int], after: Sequence[int]) -> nn.Module:
    """A layer that averages maps down to a smaller size.

    Where the sizes do not divide evenly it is adaptive pooling, whose gradient on CUDA differs in the last bits from
    run to run.

    Args:
        before: Height and width of the maps.
        after: Height and width wanted, at most as large.
    """
    if before[0] % after[0] or before[1] % after[1]:
        return nn.AdaptiveAvgPool2d((after[0], after[1]))
    return nn.AvgPool2d((before[0] // after[0], before[1] // after[1]))


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not one of the known ones.

    Raises:
        ValueError: It is not.
    """
    if value not in known:
        raise ValueError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}")
