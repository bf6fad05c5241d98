"""The textbook loop, see `benchmarks.textbook`."""

from benchmarks.peers.work import Work
from benchmarks.textbook import Textbook

PACKAGE = "torch"


def train(work: Work) -> None:
    """One epoch."""
    loop = Textbook(work.data, work.student, work.teacher, batch=work.batch, augment=work.augment, workers=work.workers)
    for _ in range(len(loop.loader)):
        loop.step()
