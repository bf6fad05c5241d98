"""The example of a plug-in: installed as a user would, found, checked."""

import subprocess
import sys
from pathlib import Path

import pytest

from understudy.errors import UserError
from understudy.methods.base import METHODS, Method
from understudy.registry import Registry
from understudy.testing import check_method

PLUGIN = Path(__file__).parents[1] / "examples/plugin"


@pytest.fixture
def methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[type[Method]]:
    """A registry that looks for plug-ins anew."""
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(tmp_path), str(PLUGIN)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("method", "understudy.methods")


def test_installed_plugin_is_found_and_conforms(methods: Registry[type[Method]]) -> None:
    assert "logit-l1" in methods
    check_method(methods.get("logit-l1"))


def test_it_is_gone_with_the_package() -> None:
    with pytest.raises(UserError, match="did you mean 'logit-mse'"):
        METHODS.get("logit-l1")


def test_it_has_less_than_40_lines() -> None:
    files = [PLUGIN / "pyproject.toml", PLUGIN / "logit_l1.py"]
    assert sorted(path for path in PLUGIN.iterdir() if path.is_file()) == sorted(files)
    assert sum(len(path.read_text().splitlines()) for path in files) < 40
