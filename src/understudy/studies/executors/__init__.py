"""What does the runs of a study; one file each."""

from understudy.studies.executors.base import EXECUTORS, Executor

__all__ = ["EXECUTORS", "Executor"]
