"""Pages that several tests read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run, made_study, predictions

from understudy.record import RunDirectory
from understudy.report.make import Written, make_report

EVIL = '<b>&"$x$'
CLASSES = [f"{EVIL} {number}" for number in range(4)]


def grey(run: RunDirectory, indices: list[int]) -> dict[int, np.ndarray]:
    """Images of 8x8 pixels that show their index."""
    return {index: np.full((8, 8), index, np.uint8) for index in indices}


@pytest.fixture
def page_of() -> Callable[..., Written]:
    def write(path: Path, **chosen: object) -> Written:
        return make_report(path, **{"evaluate": lambda run: None, "read_pictures": grey, **chosen})  # type: ignore[arg-type]

    return write


@pytest.fixture(scope="session")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study of three arms and three seeds; names hold what HTML and matplotlib take for commands."""
    path = tmp_path_factory.mktemp("study") / "study"
    teacher = predictions(190, seed=9)
    right = {"plain": (150, 152, 151), EVIL: (160, 163, 161), "dkd": (151, 150, 153)}
    arms = {
        name: [
            made_run(
                path / "runs" / str(place) / f"seed{seed}",
                predictions(count, seed=seed),
                teacher=None if name == "plain" else teacher,
                method=() if name == "plain" else [name],
                classes=CLASSES,
                seed=seed,
            )
            for seed, count in enumerate(counts, 1)
        ]
        for place, (name, counts) in enumerate(right.items())
    }
    made_study(path, arms, baseline="plain")
    return make_report(path, evaluate=lambda run: None, read_pictures=grey).page
