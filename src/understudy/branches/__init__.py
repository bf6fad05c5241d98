"""The early exits of a network: heads beside it, each reading one of its layers."""

from understudy.branches.base import HEADS, Branches, Place, branches_of, make_head, register_head

__all__ = ["HEADS", "Branches", "Place", "branches_of", "make_head", "register_head"]
