"""Which parameters a loss reaches, and how strongly."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.taps import IMAGE, evaluating, network_of
from understudy.types import Batch, Outputs, Term


def gradient_norms(distiller: Distiller, batch: Batch, targets: Outputs | None = None) -> dict[str, float]:
    """How strongly each weighted term pulls at the student: the norm of its gradient on one batch.

    In a stage that does not train the student it is how strongly it pulls at the layers of the methods.

    Nothing changes: the batch is run in eval mode and no gradient is stored.

    Args:
        distiller: What is to be trained.
        batch: A few images.
        targets: What the teacher said about them.

    Returns:
        Norm by term name; 0 for a term of weight 0.

    Raises:
        UserError: A term is not 0 but its gradient does not reach what is trained, so that it would train nothing.
    """
    trained = network_of(distiller.student.model) if distiller.stage.student else distiller.methods
    parameters = [p for p in trained.parameters() if p.requires_grad]
    if not parameters:
        raise UserError("the student has no trainable parameter: everything is frozen")
    with evaluating(distiller), torch.enable_grad():
        terms = distiller(batch, targets).terms
        return {name: _gradient_norm(name, term, parameters) for name, term in terms.items()}


def gradient_shares(norms: Mapping[str, float]) -> dict[str, float]:
    """Each term's part of the sum of all gradient norms, by term name.

    Args:
        norms: As `gradient_norms` gives them.
    """
    whole = sum(norms.values())
    return {name: norm / whole if whole else 0.0 for name, norm in norms.items()}


def _gradient_norm(name: str, term: Term, parameters: list[nn.Parameter]) -> float:
    raw, weighted = term.raw.detach().item(), term.weighted.detach().item()
    if raw == 0:
        return 0.0
    # Of the raw term: a weight that is 0 now may rise later.
    if not term.raw.requires_grad:
        raise UserError(f"loss term '{name}' has no gradient to the student (it is detached); it would train nothing")
    gradients = torch.autograd.grad(term.raw, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    norm = sum(float(torch.linalg.vector_norm(gradient)) ** 2 for gradient in gradients) ** 0.5
    if norm == 0:
        raise UserError(f"loss term '{name}' is {raw:.4g} but its gradient does not reach the student")
    return norm * abs(weighted / raw)


class _Reach(NamedTuple):
    """What the loss of a stage trains.

    Attributes:
        trained: Parameters that its gradient reaches.
        idle: Parameters that could be trained but are not reached.
        still: Modules with a state of their own that are not reached.
    """

    trained: list[nn.Parameter]
    idle: list[nn.Parameter]
    still: list[nn.Module]


def reached_parameters(distiller: Distiller, batch: Batch, targets: Outputs | None) -> list[nn.Parameter]:
    """The parameters that the present stage's loss trains.

    Args:
        distiller: What is to be trained, at the stage in question.
        batch: A few images.
        targets: What the teacher said about them.
    """
    return _reach(distiller, batch, targets).trained


@contextmanager
def training_only_reached(distiller: Distiller, batch: Batch, targets: Outputs | None) -> Generator[list[nn.Module]]:
    """Freeze, inside the block, all parameters that the present stage's loss does not reach.

    A hint loss reaches the student up to the guided layer; the rest must stay as it is, for which weight decay and
    BatchNorm statistics do not ask.

    Args:
        distiller: What is to be trained, at the stage in question.
        batch: A few images.
        targets: What the teacher said about them.

    Yields:
        The modules with parameters or buffers that are not reached. Their `training` flag should be off; not that of
        their children, of which some may be reached.
    """
    reach = _reach(distiller, batch, targets)
    for parameter in reach.idle:
        parameter.requires_grad_(False)
    try:
        yield reach.still
    finally:
        for parameter in reach.idle:
            parameter.requires_grad_(True)


def _reach(distiller: Distiller, batch: Batch, targets: Outputs | None) -> _Reach:
    trainable = [p for p in distiller.parameters() if p.requires_grad]
    with evaluating(distiller), torch.enable_grad(), _watching(distiller) as watch:
        step = distiller(batch, targets)
        # Where the image is a leaf, it may be all that the output of a frozen layer leads to.
        leaves = [*trainable, *(step.outputs.features[tap] for tap in (IMAGE,) if tap in step.outputs.features)]
        gradients = cast("Sequence[Tensor | None]", torch.autograd.grad(step.loss, leaves, allow_unused=True))
    found = {parameter: gradient is not None for parameter, gradient in zip(trainable, gradients, strict=False)}
    trained = [parameter for parameter, is_reached in found.items() if is_reached]
    idle = [parameter for parameter, is_reached in found.items() if not is_reached]
    return _Reach(trained, idle, [module for module in distiller.modules() if watch.is_still(module, found)])


class _Watch:
    """Notes through which modules' outputs a gradient comes back."""

    def __init__(self) -> None:
        self.passed: set[nn.Module] = set()
        self.reached: set[nn.Module] = set()

    def __call__(self, module: nn.Module, inputs: object, output: object) -> None:
        for tensor in _tensors(output):
            if tensor.grad_fn is not None:
                self.passed.add(module)
                tensor.register_hook(lambda gradient: self.reached.add(module))

    def is_still(self, module: nn.Module, found: Mapping[nn.Parameter, bool]) -> bool:
        """Whether a module has parameters or buffers of its own, and neither they nor its output are reached.

        What gives something without a graph stays as it is: where that leads cannot be seen.
        """
        own = [found[parameter] for parameter in module.parameters(recurse=False) if parameter in found]
        if module in self.reached or any(own):
            return False
        return bool(own) or module in self.passed


@contextmanager
def _watching(distiller: Distiller) -> Generator[_Watch]:
    watch = _Watch()
    stateful = [module for module in distiller.modules() if _has_state(module)]
    handles = [module.register_forward_hook(watch) for module in stateful]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def _has_state(module: nn.Module) -> bool:
    return any(True for _ in chain(module.parameters(recurse=False), module.buffers(recurse=False)))


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        parts = cast("Iterable[object]", value.values() if isinstance(value, Mapping) else value)
        for part in parts:
            yield from _tensors(part)
