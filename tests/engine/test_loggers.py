import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from understudy.engine.loggers import LOGGERS, JsonLines, check_loggers
from understudy.errors import UserError

RECORD = {"step": 3, "kind": "epoch", "train.loss": 0.5, "epoch": 1}


def test_json_lines_drops_what_is_repeated_and_what_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    logger = JsonLines(path)
    for step in range(1, 6):
        logger.log({"step": step})
    logger.close()
    with path.open("a") as file:
        file.write('{"step": 6, "tr')
    logger = JsonLines(path, step=3)
    logger.log({"step": 4, "again": True})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
        {"step": 3},
        {"step": 4, "again": True},
    ]
    logger.close()


def test_tensorboard_gets_every_number(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = LOGGERS.get("tensorboard")(tmp_path)
    logger.log(RECORD)
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"train.loss", "epoch"}
    [event] = events.Scalars("train.loss")
    assert (event.step, event.value) == (3, 0.5)


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'understudy\[{name}\]'"):
        check_loggers([name])


class Calls(ModuleType):
    """A module that notes how it is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *positional, **named: self.calls.append((name, positional, named))


def test_wandb_is_told_run_numbers_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Calls("wandb")
    started: dict[str, Any] = {}
    run = SimpleNamespace(log=module.log, finish=module.finish)
    module.init = lambda **options: started.update(options) or run
    monkeypatch.setitem(sys.modules, "wandb", module)
    logger = LOGGERS.get("wandb")(tmp_path / "kd-1", step=2)
    logger.log(RECORD)
    logger.close()
    assert started["name"] == "kd-1"
    assert len(started["id"]) == 16
    assert started["resume"] == "allow"
    assert module.calls == [("log", ({"train.loss": 0.5, "epoch": 1},), {"step": 3}), ("finish", (), {})]


def test_mlflow_is_told_run_numbers_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Calls("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", module)
    logger = LOGGERS.get("mlflow")(tmp_path / "kd-1")
    logger.log(RECORD)
    logger.close()
    assert module.calls == [
        ("start_run", (), {"run_name": "kd-1"}),
        ("log_metrics", ({"train.loss": 0.5, "epoch": 1},), {"step": 3}),
        ("end_run", (), {}),
    ]


def test_unknown_logger_is_one_line() -> None:
    with pytest.raises(UserError, match="did you mean 'wandb'"):
        check_loggers(["wand"])
