"""Every registered method against the battery that plug-ins get too."""

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from child_processes import run_pair
from torch import Tensor

from understudy.engine.distributed import World, distribute, join, leave
from understudy.methods import METHODS
from understudy.reach import training_only_reached
from understudy.testing import CHECKS, Case, small_network
from understudy.testing.case import differing, gradients
from understudy.types import Batch, Outputs

# They compare channel with channel, so the teacher must be as wide as the student.
SAME_WIDTH = ("fsp", "fsp-joint", "kdsvd")

Gradients = dict[str, dict[str, Tensor]]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", METHODS.names())
def test_method_conforms(name: str, check: str) -> None:
    CHECKS[check](case_of(name))


def case_of(name: str, settings: dict[str, Any] | None = None) -> Case:
    teacher = small_network((4, 6, 8), seed=2) if name in SAME_WIDTH else None
    return Case(METHODS.get(name), settings, teacher=teacher)


def choices() -> list[Any]:
    """Each word that a setting of a method may have, but for the default."""
    found: list[Any] = []
    for name in METHODS.names():
        hints = get_type_hints(METHODS.get(name).__init__)
        for key, parameter in inspect.signature(METHODS.get(name)).parameters.items():
            words = [word for word in get_args(hints[key]) if isinstance(word, str) and word != parameter.default]
            found += [pytest.param(name, {key: word}, id=f"{name}-{key}-{word}") for word in words]
    return found


@pytest.mark.parametrize(("name", "settings"), choices())
def test_every_choice_conforms(name: str, settings: dict[str, str]) -> None:
    case = case_of(name, settings)
    for check in ("terms", "gradient", "targets", "unlabelled", "bf16"):
        CHECKS[check](case)


def gradients_of_all(world: World) -> Gradients:
    """The gradients of one step of each method in each stage, as the trainer takes it; BatchNorm is held fixed."""
    found: Gradients = {}
    for name, settings in [*((name, None) for name in METHODS.names()), ("mimic", {"what": "similarity"})]:
        case = case_of(name, settings)
        batch, targets = part(case, world)
        for stage, distiller in case.staged():
            distiller.eval()
            with training_only_reached(distiller, batch, targets):
                torch.manual_seed(0)
                model = distribute(distiller, world, torch.device("cpu"))
                model(batch, targets).loss.backward()
            found[" ".join([name, stage.name, *(settings or {}).values()])] = gradients(distiller)
    return found


def part(case: Case, world: World) -> tuple[Batch, Outputs | None]:
    rows = slice(world.rank, None, world.size)
    image, label, index, view = case.batch[:4]
    batch = Batch(image[rows], label[rows], index[rows], view[rows])
    return batch, case.teacher(batch) if case.method.needs_teacher else None


def write_gradients(out: Path) -> None:
    world = join()
    torch.save(gradients_of_all(world), out / f"{world.rank}.pt")
    leave()


def test_two_processes_train_each_method_as_one(tmp_path: Path) -> None:
    run_pair(write_gradients, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    alone = gradients_of_all(World())
    assert first.keys() == alone.keys()
    for name, expected in alone.items():
        assert not differing(first[name], second[name]), name
        assert first[name].keys() == expected.keys(), name
        torch.testing.assert_close(first[name], expected, rtol=1e-3, atol=1e-4)
