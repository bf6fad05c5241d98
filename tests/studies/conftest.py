"""What the tests of studies share."""

from pathlib import Path

import pytest
from quick_studies import Studies


@pytest.fixture
def study(teacher_run: Path, tmp_path: Path) -> Studies:
    return Studies(teacher_run, tmp_path / "study")
