import io
import os
import pickle
import random
import signal
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from child_processes import finish, start

from understudy.engine.checkpoint import load_checkpoint, random_state, restore_random_state, save_checkpoint
from understudy.errors import UserError


def draw() -> list[object]:
    return [random.gauss(0, 1), random.random(), np.random.normal(), np.random.rand(), torch.rand(3).tolist()]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    state = {"step": 3, "best": {"accuracy": 0.5}, "weights": {"w": torch.randn(2, 3).bfloat16()}, "none": None}
    save_checkpoint(tmp_path / "last.pt", state)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert torch.equal(loaded["weights"].pop("w"), state["weights"].pop("w"))
    assert loaded == state
    assert os.listdir(tmp_path) == ["last.pt"]


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    draw()
    save_checkpoint(tmp_path / "last.pt", random_state())
    expected = [draw(), draw()]
    restore_random_state(load_checkpoint(tmp_path / "last.pt"))
    assert [draw(), draw()] == expected


class Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.victim),)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"step": Malicious(tmp_path / "victim")}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt.*delete it"):
        load_checkpoint(tmp_path / "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "victim")))
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / "plain.pt")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_file_is_one_line(tmp_path: Path, share: float) -> None:
    content = io.BytesIO()
    torch.save({"w": torch.randn(1000)}, content)
    whole = content.getvalue()
    (tmp_path / "last.pt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


def save_forever(path: Path) -> None:
    for number in range(10**6):
        save_checkpoint(path, {"number": number, "w": torch.full((2 * 10**5,), float(number))})


def test_a_kill_while_saving_leaves_one_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    process = start(save_forever, path)
    while not path.exists():
        time.sleep(0.001)
    time.sleep(0.02)
    process.kill()
    assert finish(process) == [-9]
    found = load_checkpoint(path)
    assert torch.all(found["w"] == found["number"])


def die_while_saving(path: Path, share: float) -> None:
    """Save once, and be killed when a share of the second checkpoint is written."""
    save_checkpoint(path, {"number": 1})
    content = path.read_bytes()

    def write_a_part(state: object, file: IO[bytes]) -> None:
        file.write(content[: int(share * len(content))])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = write_a_part
    save_checkpoint(path, {"number": 2})


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_kill_at_any_byte_leaves_the_old_checkpoint(tmp_path: Path, share: float) -> None:
    assert finish(start(die_while_saving, tmp_path / "last.pt", share)) == [-9]
    assert load_checkpoint(tmp_path / "last.pt") == {"number": 1}
