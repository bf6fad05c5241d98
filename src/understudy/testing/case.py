"""A method with a small student, teacher and batch to be checked on."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy, deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from understudy.branches import branches_of
from understudy.classifier import Classifier, InputSpec
from understudy.distiller import LABEL_TERM, Distiller, Step
from understudy.exits import add_exits
from understudy.matching import match_layers
from understudy.methods.base import Method, Stage
from understudy.models.resnet_cifar import CifarResNet
from understudy.teachers.frozen import Teacher
from understudy.types import Batch, Outputs

NUM_CLASSES = 5
NUM_IMAGES = 8
SIZE = 16


class Case:
    """A method with everything that it needs to run.

    Args:
        method: What is checked.
        settings: What it is made with.
        student: A network for colour images of 16x16 with five classes; None is a small residual network.
        teacher: Likewise.
    """

    def __init__(
        self,
        method: type[Method],
        settings: Mapping[str, Any] | None = None,
        *,
        student: nn.Module | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        self.method = method
        self.settings = dict(settings or {})
        self.student = student or small_network((4, 6, 8), seed=1)
        if method.needs_exits and branches_of(self.student) is None:
            self.student = _with_exits(self.student)
        model = deepcopy(teacher) or small_network((6, 8, 12), seed=2)
        generator = torch.Generator().manual_seed(3)
        image = torch.rand(NUM_IMAGES, 3, SIZE, SIZE, generator=generator)
        self.match = match_layers(self.student, model, image)
        self.teacher = Teacher(model, taps=self.make().taps().teacher)
        # Labels of the whole training split, of which the batch holds the first images.
        self.labels = torch.arange(4 * NUM_IMAGES) % NUM_CLASSES
        index = torch.arange(NUM_IMAGES)
        self.batch = Batch(image, self.labels[:NUM_IMAGES], index, torch.full_like(index, -1))

    @property
    def name(self) -> str:
        """What the messages call the method."""
        return self.method.__name__

    def require(self, condition: bool, problem: str) -> None:
        """Raise an `AssertionError` with the method's name unless the condition holds."""
        if not condition:
            raise AssertionError(f"{self.name}: {problem}")

    def make(self, **settings: Any) -> Method:
        """The method with its layers chosen, not set up yet."""
        construct: Callable[..., Method] = self.method
        made = construct(**{**self.settings, **settings})
        made.choose(self.match)
        return made

    def taught_by(self, model: nn.Module) -> Self:
        """The same case with another teacher, whose layers have the same names."""
        other = copy(self)
        other.teacher = Teacher(model, taps=self.make().taps().teacher)
        return other

    def build(self, method: Method | None = None, *, student: nn.Module | None = None, seed: int = 0) -> Distiller:
        """A distiller, set up and in training mode; equal but for what the method draws at random from `seed`."""
        distiller = Distiller(student or deepcopy(self.student), [method or self.make()], label_weight=1.0)
        torch.manual_seed(seed)
        distiller.setup(self.batch, self.teacher, labels=self.labels)
        return distiller.train()

    def at(self, stage: Stage, *, seed: int = 0) -> Distiller:
        """A fresh distiller in the middle of a stage, all weights 1, so that no schedule hides a term."""
        distiller = self.build(seed=seed)
        distiller.begin(stage)
        distiller.set_epoch(1, 2)
        method = method_of(distiller)
        for term in method.terms:
            method.weight(term).fill_(1)
        return distiller

    def staged(self) -> Iterator[tuple[Stage, Distiller]]:
        """Each stage with a fresh distiller in its middle."""
        for stage in self.make().stages():
            yield stage, self.at(stage)

    def targets(self) -> Outputs | None:
        """What the teacher says about the batch."""
        return self.teacher(self.batch) if self.method.needs_teacher else None

    def step(self, distiller: Distiller) -> Step:
        """One forward pass on the batch, with random numbers that are always the same."""
        torch.manual_seed(0)
        return distiller(self.batch, self.targets())


def method_of(distiller: Distiller) -> Method:
    """The method that is checked."""
    method = distiller.methods[0]
    assert isinstance(method, Method)
    return method


def own_terms(step: Step) -> dict[str, Tensor]:
    """The weighted terms of the method, without the label loss."""
    return {name: term.weighted for name, term in step.terms.items() if name != LABEL_TERM}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the gradient of each parameter that has one."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers that a checkpoint holds."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names whose tensors are not bit-identical, or that only one of the two has."""
    return [name for name in {**one, **other} if name not in one or not _same(one[name], other.get(name))]


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and torch.equal(one, other)


def as_classifier(network: nn.Module) -> Classifier:
    """A network as a classifier that takes images as they are."""
    spec = InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Classifier(network, spec=spec, classes=[str(number) for number in range(NUM_CLASSES)])


def _with_exits(network: nn.Module) -> nn.Module:
    made = deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        add_exits(as_classifier(made), torch.rand(2, 3, SIZE, SIZE), exits=2, heads=["bottleneck", "linear"])
    return made


def small_network(widths: tuple[int, int, int], *, seed: int = 0) -> nn.Module:
    """A residual network of 8 layers for colour images of 16x16 with five classes.

    Args:
        widths: Channels of `layer1`, `layer2` and `layer3`.
        seed: Of the first weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CifarResNet(8, (widths[0], *widths), num_classes=NUM_CLASSES, in_channels=3, shortcut="projection")
