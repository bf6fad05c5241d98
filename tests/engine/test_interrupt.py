import signal

import pytest
import torch

from understudy.engine.distributed import World
from understudy.engine.interrupt import StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted_and_the_second_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignal(World(), torch.device("cpu")) as stop:
        assert not stop.seen(together=False)
        signal.raise_signal(number)
        assert stop.seen(together=False)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_many_processes_decide_at_common_steps_only() -> None:
    with StopSignal(World(size=2), torch.device("cpu")) as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop.seen(together=False)
        assert stop.seen(together=True)
