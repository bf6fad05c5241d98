"""Optimizers by name; the signature is the schema."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from understudy.registry import Registry

OptimizerBuilder = Callable[..., Optimizer]
Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
"""Parameters, or groups of them as torch's optimizers take them."""

OPTIMIZERS: Registry[OptimizerBuilder] = Registry("optimizer", "understudy.engine")


@OPTIMIZERS.register("sgd")
def sgd(
    parameters: Parameters,
    *,
    lr: PositiveFloat = 0.05,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegativeFloat = 5e-4,
) -> Optimizer:
    """Stochastic gradient descent; defaults of the CIFAR-100 protocol (RepDistiller)."""
    return SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True)


@OPTIMIZERS.register("adam")
def adam(
    parameters: Parameters,
    *,
    lr: PositiveFloat = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: NonNegativeFloat = 0.0,
) -> Optimizer:
    """Adam (Kingma and Ba, ICLR 2015), with the paper's defaults."""
    return Adam(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay, fused=True)


@OPTIMIZERS.register("adamw")
def adamw(
    parameters: Parameters,
    *,
    lr: PositiveFloat = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: NonNegativeFloat = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019), with torch's defaults."""
    return AdamW(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay, fused=True)
