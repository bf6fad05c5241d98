"""Sources of targets."""

from understudy.teachers.adjusted import AdjustedClassifier
from understudy.teachers.class_map import MergeClasses, groups_by_map, groups_by_name
from understudy.teachers.ensemble import Ensemble, members_of
from understudy.teachers.frozen import Teacher

__all__ = [
    "AdjustedClassifier",
    "Ensemble",
    "MergeClasses",
    "Teacher",
    "groups_by_map",
    "groups_by_name",
    "members_of",
]
