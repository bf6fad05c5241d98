"""Distillation methods, one file per paper."""

from understudy.methods.base import METHODS, Method, Taps, register

__all__ = ["METHODS", "Method", "Taps", "register"]
