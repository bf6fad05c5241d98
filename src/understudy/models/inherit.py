"""A student that starts from layers of its teacher (Sanh et al., "DistilBERT", 2019)."""

from collections.abc import Iterator
from typing import TypeGuard

import torch
from torch import Tensor, nn

from understudy.errors import UserError


@torch.no_grad()
def copy_matching(student: nn.Module, teacher: nn.Module) -> list[str]:
    """Copy into the student what the teacher has under the same name and of the same shape.

    Where both have a stack of blocks (`nn.Sequential`, `nn.ModuleList`) of different length, block i of the student's
    n takes block floor(i m / n) of the teacher's m, if all tensors of the two fit.

    Args:
        student: Changed in place.
        teacher: Is only read.

    Returns:
        A line for each module that was copied as a whole: `layer1.1 <- layer1.3 (12 tensors)`.

    Raises:
        UserError: Nothing fits.
    """
    lines = list(_copy(student, teacher, ("", "")))
    if not lines:
        raise UserError(
            f"no layer of the teacher ({type(teacher).__name__}) fits the student ({type(student).__name__}): "
            "choose a shallower network of the same family and width, or another init"
        )
    return lines


def _copy(student: nn.Module, teacher: nn.Module, paths: tuple[str, str]) -> Iterator[str]:
    if _fits(student, teacher):
        yield from _copy_tensors(student.state_dict(), teacher.state_dict(), paths)
    elif _is_stack(student) and _is_stack(teacher) and len(student) != len(teacher):
        yield from _copy_blocks(list(student), list(teacher), paths)
    elif any(True for _ in student.children()):
        yield from _copy_parts(student, teacher, paths)


def _copy_blocks(student: list[nn.Module], teacher: list[nn.Module], paths: tuple[str, str]) -> Iterator[str]:
    for i, block in enumerate(student):
        j = i * len(teacher) // len(student)
        if _fits(block, teacher[j]):
            yield from _copy(block, teacher[j], (_join(paths[0], i), _join(paths[1], j)))


def _copy_parts(student: nn.Module, teacher: nn.Module, paths: tuple[str, str]) -> Iterator[str]:
    known = _direct_tensors(teacher)
    for name, tensor in _direct_tensors(student).items():
        if name in known and known[name].shape == tensor.shape:
            joined = (_join(paths[0], name), _join(paths[1], name))
            yield from _copy_tensors({name: tensor}, known, joined)
    children = dict(teacher.named_children())
    for name, child in student.named_children():
        if name in children:
            yield from _copy(child, children[name], (_join(paths[0], name), _join(paths[1], name)))


def _copy_tensors(student: dict[str, Tensor], teacher: dict[str, Tensor], paths: tuple[str, str]) -> Iterator[str]:
    for name, tensor in student.items():
        tensor.copy_(teacher[name])
    if student:
        yield f"{paths[0] or 'network'} <- {paths[1] or 'network'} ({len(student)} tensors)"


def _fits(student: nn.Module, teacher: nn.Module) -> bool:
    own, other = student.state_dict(), teacher.state_dict()
    return own.keys() == other.keys() and all(own[key].shape == other[key].shape for key in own)


def _is_stack(module: nn.Module) -> TypeGuard[nn.Sequential | nn.ModuleList]:
    # Blocks have parts of their own; a sequence of single layers (VGG) is matched by name.
    return isinstance(module, (nn.Sequential, nn.ModuleList)) and all(any(True for _ in m.children()) for m in module)


def _direct_tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _join(path: str, name: str | int) -> str:
    return f"{path}.{name}" if path else str(name)
