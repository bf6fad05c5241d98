from pathlib import Path
from typing import IO

import pytest

from understudy.errors import UserError
from understudy.record import RunDirectory, read_lines, write_atomically, write_json, write_text

SETTINGS = {
    "data": {"name": "digits", "size": None},
    "method": [{"name": "kd", "weight": 0.9, "when": "no"}],
    "seed": 0,
    "out": "runs/a",
}


def changed(**settings: object) -> dict[str, object]:
    return {**SETTINGS, **settings}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """A directory that a run has claimed."""
    made = RunDirectory(tmp_path / "runs" / "a")
    made.claim(SETTINGS)
    return made


def test_claimed_directory_holds_the_settings(directory: RunDirectory) -> None:
    assert directory.read_config() == SETTINGS
    assert [file.name for file in directory.path.iterdir()] == ["config.yaml"]


def test_same_run_may_claim_again(directory: RunDirectory) -> None:
    before = directory.config.read_bytes()
    directory.claim({**SETTINGS, "method": tuple(SETTINGS["method"])})
    assert directory.config.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (changed(seed=1), r"\(seed was 0, is 1\): choose another out=DIR"),
        (changed(method=[{"name": "kd", "weight": 0.5, "when": "no"}]), r"\(method\[0\]\.weight was 0\.9, is 0\.5\)"),
        (changed(method=[]), r"method.*and \d more"),
        (changed(data={"name": "digits", "size": 8}, seed=2), r"\(data\.size was None, is 8 and 1 more\)"),
        (changed(extra=3), r"\(extra was None, is 3\)"),
    ],
)
def test_other_settings_are_refused(directory: RunDirectory, settings: dict[str, object], message: str) -> None:
    before = directory.config.read_bytes()
    with pytest.raises(UserError, match=message) as caught:
        directory.claim(settings)
    assert "\n" not in str(caught.value)
    assert directory.config.read_bytes() == before


def test_moved_directory_is_still_the_runs(directory: RunDirectory, tmp_path: Path) -> None:
    moved = RunDirectory(directory.path.rename(tmp_path / "elsewhere"))
    moved.claim(changed(out="elsewhere"))


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match="is not empty and holds no run: choose another out=DIR"):
        RunDirectory(tmp_path).claim(SETTINGS)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "a: [1\n"])
def test_foreign_configuration_is_no_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match="is not a run directory") as caught:
        RunDirectory(tmp_path).claim(SETTINGS)
    assert "\n" not in str(caught.value)


def test_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot create .*: '.*file' is a file; choose another out=DIR"):
        RunDirectory(tmp_path / "file").claim(SETTINGS)


def test_empty_directory_may_be_claimed(tmp_path: Path) -> None:
    RunDirectory(tmp_path).claim(SETTINGS)
    assert RunDirectory(tmp_path).read_config() == SETTINGS


def test_run_is_finished_when_it_has_a_result(directory: RunDirectory) -> None:
    assert not directory.finished()
    with pytest.raises(UserError, match="is not finished: start it again with the same command"):
        directory.read_result()
    write_json(directory.result, {"test": {"accuracy": 0.5}})
    assert directory.finished()
    assert directory.read_result() == {"test": {"accuracy": 0.5}}


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run directory: it has no config\.yaml"):
        RunDirectory(tmp_path).read_config()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_write_that_breaks_off_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "last.pt"
    write_text(file, "old")

    def broken(opened: IO[bytes]) -> None:
        opened.write(b"half of the n")
        opened.flush()
        raise error

    with pytest.raises(error):
        write_atomically(file, broken)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_write_replaces_the_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    write_text(file, "old")
    seen: list[str] = []

    def write(opened: IO[bytes]) -> None:
        opened.write("neü".encode())
        opened.flush()
        seen.append(file.read_text())

    write_atomically(file, write)
    assert seen == ["old"]
    assert file.read_text(encoding="utf-8") == "neü"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("cut", ['{"step": 3, "lo', '{"step"', "{"])
def test_last_line_that_is_cut_is_left_out(tmp_path: Path, cut: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n' + cut)
    assert list(read_lines(file)) == [{"step": 1}, {"step": 2}]


def test_complete_last_line_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}')
    assert list(read_lines(file)) == [{"step": 1}, {"step": 2}]


def test_no_lines_without_a_file(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "metrics.jsonl")) == []
