"""What the tests of searches share."""

from pathlib import Path

import pytest
from quick_searches import Searches


@pytest.fixture
def search(teacher_run: Path, tmp_path: Path) -> Searches:
    return Searches(teacher_run, tmp_path / "search")
