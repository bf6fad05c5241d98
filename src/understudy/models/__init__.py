"""Architectures, and how a name or a file becomes a classifier."""

from understudy.models.base import MODELS, register_model
from understudy.models.changes import CHANGES, note_change, register_change
from understudy.models.create import create_model, default_size
from understudy.models.freeze import ParameterCount, count_parameters, freeze
from understudy.models.head import head_of, replace_head
from understudy.models.inherit import copy_matching
from understudy.models.known_classes import known_classes
from understudy.models.naming import model_names
from understudy.models.saved import load_model, save_model
from understudy.models.weights import load_weights

__all__ = [
    "CHANGES",
    "MODELS",
    "ParameterCount",
    "copy_matching",
    "count_parameters",
    "create_model",
    "default_size",
    "freeze",
    "head_of",
    "known_classes",
    "load_model",
    "load_weights",
    "model_names",
    "note_change",
    "register_change",
    "register_model",
    "replace_head",
    "save_model",
]
