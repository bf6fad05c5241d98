"""Distil image classifiers, and know whether it helped."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy import losses
    from understudy.data import load_data
    from understudy.distiller import Distiller
    from understudy.experiments.api import distill
    from understudy.methods import METHODS
    from understudy.models import create_model
    from understudy.studies.api import study
    from understudy.teachers import Teacher

__version__ = "0.1.0"

__all__ = ["METHODS", "Distiller", "Teacher", "create_model", "distill", "load_data", "losses", "study"]

# torch takes seconds to import, so nothing is imported before it is asked for.
_HOMES = {
    "METHODS": "understudy.methods",
    "Distiller": "understudy.distiller",
    "Teacher": "understudy.teachers",
    "create_model": "understudy.models",
    "distill": "understudy.experiments.api",
    "load_data": "understudy.data",
    "study": "understudy.studies.api",
}


def __getattr__(name: str) -> Any:
    if name == "losses":
        return import_module("understudy.losses")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'understudy' has no attribute '{name}'")
