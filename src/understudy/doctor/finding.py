"""What a probe says."""

from enum import IntEnum
from typing import NamedTuple


class Severity(IntEnum):
    """How bad it is.

    Attributes:
        OK: Looked at, nothing found.
        NOTE: Worth knowing; may be meant so.
        WARNING: Costs accuracy or time, or makes the result doubtful.
        ERROR: The run would be refused, fail, or learn something wrong.
    """

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        severity: How bad it is.
        what: What was found, in one line.
        evidence: The numbers behind it.
        fix: What to change: a setting wherever there is one. Warnings and errors have a fix, unless `what` is the line
            that the run would be refused with, which names it.
        probe: Who found it.
    """

    severity: Severity
    what: str
    evidence: str = ""
    fix: str = ""
    probe: str = ""


def ok(what: str, evidence: str = "") -> Finding:
    """Nothing found."""
    return Finding(Severity.OK, what, evidence)


def note(what: str, evidence: str = "", fix: str = "") -> Finding:
    """Worth knowing."""
    return Finding(Severity.NOTE, what, evidence, fix)


def warning(what: str, evidence: str = "", fix: str = "") -> Finding:
    """Costs accuracy or time, or makes the result doubtful."""
    return Finding(Severity.WARNING, what, evidence, fix)


def error(what: str, evidence: str = "", fix: str = "") -> Finding:
    """The run would be refused, fail, or learn something wrong."""
    return Finding(Severity.ERROR, what, evidence, fix)
