"""Computations by name."""

from collections.abc import Callable

from understudy.registry import Registry

COMPUTATIONS: Registry[Callable[..., float]] = Registry("computation", "understudy.reproduce.computations")
"""The settings of each are its keyword arguments."""
