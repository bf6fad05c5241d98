"""Changes of a network's structure after it was built, which a saved file repeats."""

from collections.abc import Callable, Sequence

from torch import nn

from understudy.classifier import Change, Classifier
from understudy.registry import Registry

CHANGES: Registry[Callable[..., None]] = Registry("change", "understudy.models")
"""`(network, **settings)` -> the structure of a changed network, in place and with any weights, by name."""

register_change = CHANGES.register
"""Decorator: make a function able to repeat the change of this name; its settings are numbers, words and lists."""


def note_change(model: nn.Module, change: Change) -> None:
    """Remember in a `Classifier` what was done to its network, for the file that it is saved in."""
    if isinstance(model, Classifier):
        model.changes = (*model.changes, change)


def repeat_changes(network: nn.Module, changes: Sequence[Change]) -> None:
    """Do to a network as it was built what was done to another one, except for the weights.

    Args:
        network: Changed in place.
        changes: In the order in which they were made.

    Raises:
        UserError: Nothing is registered under the name of one.
    """
    for name, settings in changes:
        CHANGES.get(name)(network, **settings)
