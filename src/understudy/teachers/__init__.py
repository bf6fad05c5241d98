"""Sources of targets."""

from understudy.teachers.frozen import Teacher

__all__ = ["Teacher"]
