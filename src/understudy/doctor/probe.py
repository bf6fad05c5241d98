"""What a probe is."""

from collections.abc import Callable, Iterator

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding
from understudy.registry import Registry

Probe = Callable[[Case], Iterator[Finding]]
"""Looks at a set-up and says what it found. A part of the set-up that it asks for and that is not there ends it in
silence (`understudy.doctor.case.MissingError`); a `UserError` of its own is a finding."""

PROBES: Registry[Probe] = Registry("probe", "understudy.doctor.probes")
"""All probes; one file each."""
