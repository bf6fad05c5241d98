import subprocess
import sys
from pathlib import Path

import pytest

from understudy import lock
from understudy.errors import UserError
from understudy.lock import locked


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    file = tmp_path / "run" / ".lock"
    file.parent.mkdir()
    with locked(file):
        with (
            pytest.raises(UserError, match=r"another process is writing into '.*run': .*choose another out=DIR"),
            locked(file),
        ):
            pass
        assert file.exists()
    assert not file.exists()
    with locked(file):
        pass


def test_a_killed_writer_is_not_in_the_way(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    code = (
        "import sys, time; from pathlib import Path; from understudy.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process"), locked(file):
            pass
        other.kill()
    assert file.exists()
    with locked(file):
        pass


def test_the_lock_goes_with_what_went_wrong(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / ".lock"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
