"""Which parameters a loss reaches, and how strongly."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.taps import evaluating, network_of
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
        The modules of the student that are not reached, which should stay in eval mode.
    """
    trained = [p for p in distiller.parameters() if p.requires_grad]
    with evaluating(distiller), torch.enable_grad():
        loss = distiller(batch, targets).loss
        gradients = cast("Sequence[Tensor | None]", torch.autograd.grad(loss, trained, allow_unused=True))
    idle = [parameter for parameter, gradient in zip(trained, gradients, strict=True) if gradient is None]
    for parameter in idle:
        parameter.requires_grad_(False)
    try:
        yield [module for module in distiller.modules() if _is_idle(module, idle)]
    finally:
        for parameter in idle:
            parameter.requires_grad_(True)


def _is_idle(module: nn.Module, idle: list[nn.Parameter]) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and all(any(parameter is other for other in idle) for parameter in own)
