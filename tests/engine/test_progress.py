import io
import sys

import pytest

from understudy.engine.progress import TrainingBar


def work() -> None:
    with TrainingBar("kd", total=4, done=1) as bar:
        bar.advance()
        bar.show({"loss": 0.123456}, 1234.5)


def test_nothing_is_printed_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    work()
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_steps_speed_and_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    work()
    shown = terminal.getvalue()
    assert "2/4" in shown
    assert "1,234 images/s" in shown
    assert "loss 0.123" in shown
