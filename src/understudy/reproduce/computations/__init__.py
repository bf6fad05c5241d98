"""What can be computed of published tables without any training, by the package's own functions."""

from understudy.reproduce.computations.base import COMPUTATIONS

__all__ = ["COMPUTATIONS"]
