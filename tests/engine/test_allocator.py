"""Freed memory is kept for the next step."""

import resource
import sys

import pytest
from child_processes import finish, start

from understudy.engine.allocator import keep_freed_memory


def faults_of_a_large_block(*, keep: bool) -> int:
    """Page faults of filling 256 MB again after it was freed."""
    import torch

    if keep:
        assert keep_freed_memory()
    torch.ones(1 << 26)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def compare() -> None:
    # In this order: what is kept cannot be given back.
    given_back = faults_of_a_large_block(keep=False)
    faults_of_a_large_block(keep=True)
    assert faults_of_a_large_block(keep=True) < given_back / 4


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library")
def test_memory_is_not_faulted_in_again() -> None:
    assert finish(start(compare)) == [0]


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
