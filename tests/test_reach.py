"""What a loss reaches: the rest stands still, and only the rest."""

import pytest
import torch
from torch import Tensor, nn
from toys import random_batch, state

from understudy.distiller import Distiller
from understudy.methods.at_gradient import GradientAttention
from understudy.methods.base import Method
from understudy.methods.fitnets import FitNets
from understudy.reach import reached_parameters, training_only_reached
from understudy.teachers import Teacher
from understudy.types import Batch

PAIRS = [("lower", "lower")]


def block(inside: int, out: int, *, affine: bool) -> nn.Sequential:
    # In place, so that the output of BatchNorm is overwritten.
    norm = nn.BatchNorm2d(out, affine=affine)
    return nn.Sequential(nn.Conv2d(inside, out, 3, padding=1), norm, nn.ReLU(inplace=True))


class Scaled(nn.Module):
    """Two blocks, the second in a residual sum, and a parameter of its own behind all other layers."""

    def __init__(self, *, affine: bool = False) -> None:
        super().__init__()
        self.lower = block(1, 4, affine=affine)
        self.upper = block(4, 4, affine=affine)
        self.fc = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        lower = self.lower(image)
        return self.fc((lower + self.upper(lower)).mean((2, 3))) * self.scale


def set_up(student: nn.Module, method: Method) -> tuple[Distiller, Teacher]:
    torch.manual_seed(1)
    teacher = Teacher(Scaled(affine=True), taps=method.taps().teacher)
    distiller = Distiller(student, [method])
    distiller.setup(random_batch(), teacher)
    distiller.begin(distiller.stages()[0])
    return distiller, teacher


def moved_by_a_step(distiller: Distiller, teacher: Teacher, batch: Batch) -> set[str]:
    """The student's parameters and buffers that a step as the trainer takes it moves."""
    before = state(distiller.student.model)
    with training_only_reached(distiller, batch, teacher(batch)) as idle:
        parameters = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
        distiller.train()
        for module in idle:
            module.training = False
        distiller(batch, teacher(batch)).loss.backward()
        torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1).step()
    after = distiller.student.model.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize("affine", [True, False])
def test_batchnorm_without_weights_stands_still_above_the_guided_layer_only(affine: bool) -> None:
    distiller, teacher = set_up(Scaled(affine=affine), FitNets(pairs=PAIRS))
    moved = moved_by_a_step(distiller, teacher, random_batch())
    assert moved == {name for name in distiller.student.model.state_dict() if name.startswith("lower.")}
    assert "lower.1.running_mean" in moved


def test_frozen_batchnorm_above_the_guided_layer_stands_still() -> None:
    student = Scaled(affine=True)
    student.upper.requires_grad_(False)
    distiller, teacher = set_up(student, FitNets(pairs=PAIRS))
    assert not {name for name in moved_by_a_step(distiller, teacher, random_batch()) if name.startswith("upper.")}


@pytest.mark.parametrize("method", [FitNets(pairs=PAIRS, first="labels"), GradientAttention()])
def test_frozen_batchnorm_below_what_is_trained_still_moves(method: Method) -> None:
    student = Scaled()
    student.lower.requires_grad_(False)
    distiller, teacher = set_up(student, method)
    moved = moved_by_a_step(distiller, teacher, random_batch())
    assert {"lower.1.running_mean", "upper.1.running_mean", "fc.weight", "scale"} <= moved
    assert "lower.0.weight" not in moved


def test_nothing_is_still_where_everything_is_reached() -> None:
    distiller, teacher = set_up(Scaled(), FitNets(pairs=PAIRS))
    distiller.begin(distiller.stages()[1])
    batch = random_batch()
    with training_only_reached(distiller, batch, teacher(batch)) as idle:
        assert all(module in set(distiller.methods.modules()) for module in idle)


def test_reached_parameters_are_those_of_the_stage() -> None:
    distiller, teacher = set_up(Scaled(), FitNets(pairs=PAIRS))
    batch = random_batch()
    names = {parameter: name for name, parameter in distiller.named_parameters()}
    found = {names[parameter] for parameter in reached_parameters(distiller, batch, teacher(batch))}
    assert found == {name for name in names.values() if "lower" in name or "regressors" in name}


def test_no_hook_stays() -> None:
    distiller, teacher = set_up(Scaled(), FitNets(pairs=PAIRS))
    batch = random_batch()
    before = [len(module._forward_hooks) for module in distiller.modules()]
    reached_parameters(distiller, batch, teacher(batch))
    assert [len(module._forward_hooks) for module in distiller.modules()] == before


class TwoInOne(nn.Module):
    """Gives a mapping with a list in it, as some networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, maps: Tensor) -> dict[str, list[Tensor]]:
        return {"maps": [maps * 2, maps * 3]}


class Nested(Scaled):
    """What lies above the guided layer comes in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = TwoInOne()

    def forward(self, image: Tensor) -> Tensor:
        two, three = self.inner(self.lower(image))["maps"]
        return self.fc((two + self.upper(three)).mean((2, 3))) * self.scale


@pytest.mark.parametrize(("stage", "still"), [(0, True), (1, False)])
def test_outputs_in_lists_and_mappings_are_seen(stage: int, still: bool) -> None:
    student = Nested()
    distiller, teacher = set_up(student, FitNets(pairs=PAIRS))
    distiller.begin(distiller.stages()[stage])
    batch = random_batch()
    with training_only_reached(distiller, batch, teacher(batch)) as idle:
        assert (student.inner in idle) == still


def test_parameters_of_a_parent_do_not_stop_its_children() -> None:
    student = Scaled()
    distiller, teacher = set_up(student, FitNets(pairs=PAIRS))
    batch = random_batch()
    with training_only_reached(distiller, batch, teacher(batch)) as idle:
        assert student in idle
        assert not any(module in idle for module in student.lower.modules())
