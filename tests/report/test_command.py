import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_runs import made_run, predictions
from page_parser import Page
from typer.testing import CliRunner

from understudy.cli import app
from understudy.data import load_data
from understudy.data.base import ImageData
from understudy.errors import UserError
from understudy.experiments.pictures import read_pictures
from understudy.experiments.run import Result
from understudy.record import RunDirectory
from understudy.report.disagreement import find_disagreements
from understudy.report.make import Written


def call(*arguments: str) -> tuple[int, str, str]:
    outcome = CliRunner().invoke(app, ["report", *arguments])
    return outcome.exit_code, outcome.stdout, outcome.stderr


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, digits: Callable[..., Result], teacher_run: Path
) -> tuple[Path, Path]:
    """A plain and a distilled student of the same seed."""
    path = tmp_path_factory.mktemp("pair")
    digits("train", path / "plain", train__epochs=2)
    digits("distill", path / "kd", teacher=str(teacher_run), train__epochs=2)
    return path / "kd", path / "plain"


def test_the_page_of_a_pair_of_runs(runs: tuple[Path, Path]) -> None:
    run, baseline = runs
    code, shown, errors = call(str(run), f"baseline={baseline}")
    assert code == 0, errors
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    result = RunDirectory(run).read_result()
    assert f"{result['test']['accuracy']:.2%}".replace("%", "\N{NO-BREAK SPACE}%") in page.text("td")
    found = find_disagreements(RunDirectory(run))
    kinds = [one.kind for one in found]
    assert len(page.all("img")) == sum(min(8, kinds.count(kind)) for kind in set(kinds))
    assert f"{len(found):,} of 719 test images" in " ".join(page.text("p"))
    assert {"teacher", "plain", "kd"} <= set(page.text("th"))
    assert "kd" in shown.splitlines()[0]
    assert f"wrote {run}/report.html" in shown
    assert re.search(r"understudy distill -c config\.yaml out=again", " ".join(page.text("code")))


@pytest.mark.slow
def test_the_page_of_a_study(teacher_run: Path, tmp_path: Path) -> None:
    chosen = ["data=digits", f"teacher={teacher_run}", "student=cnn-xs", "methods=[kd,at]", "seeds=2", "device=cpu"]
    chosen += ["train.epochs=2", f"cache.path={tmp_path}/cache"]
    outcome = CliRunner().invoke(app, ["study", *chosen, f"out={tmp_path}/study"])
    assert outcome.exit_code == 0, outcome.stderr
    code, shown, errors = call(f"{tmp_path}/study")
    assert code == 0, errors
    assert "2 pairs of runs" in shown
    page = Page((tmp_path / "study/report.html").read_text(encoding="utf-8"))
    assert {"teacher", "plain", "kd", "at"} <= set(page.text("th"))
    summary = json.loads((tmp_path / "study/study.json").read_text())
    for arm in summary["arms"]:
        assert f"{100 * arm['test']['accuracy']['mean']:.2f}\N{NO-BREAK SPACE}%" in page.text("td")
    for row in summary["comparisons"]:
        assert f"{100 * row['mean']:+.2f}" in page.text("td")


def test_gone_data_are_said(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    run = made_run(tmp_path / "run", predictions(150), teacher=predictions(190), method=["kd"])
    run.config.write_text(run.config.read_text().replace("name: digits", f"name: folder\n  path: {tmp_path}/gone"))
    written = page_of(run.path, read_pictures=read_pictures, out=tmp_path / "new/page.html")
    assert "The images cannot be shown: no such folder" in written.page.read_text()


def test_pictures_are_those_of_the_test_split(teacher_run: Path) -> None:
    found = read_pictures(RunDirectory(teacher_run), [5, 700])
    data: ImageData = load_data("digits")
    for index in (5, 700):
        assert torch.equal(torch.from_numpy(found[index]), data.test.read(index)[0])


def test_colour_pictures_have_channels_last(image_folder: Path, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", predictions(100))
    run.config.write_text(f"data: {{name: folder, path: '{image_folder}'}}\n")
    run.provenance.unlink()
    [(_, pixels)] = read_pictures(run, [0]).items()
    expected = load_data(image_folder).test.read(0)
    assert pixels.shape == (*expected.shape[1:], 3)
    assert torch.equal(torch.from_numpy(pixels).permute(2, 0, 1), expected)


def test_other_data_under_the_same_name_are_not_shown(teacher_run: Path, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(teacher_run, tmp_path / "run"))
    text = run.config.read_text().replace("split_seed: 0", "split_seed: 1")
    run.config.write_text(text)
    with pytest.raises(UserError, match="changed since the run"):
        read_pictures(run, [0])
    run.config.write_text("data: {name: 'object:mine-12'}\n")
    with pytest.raises(UserError, match="handed over in Python"):
        read_pictures(run, [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/run"], "neither a run nor a study"),
        (["{run}", "base=x"], "did you mean 'baseline'"),
        (["{run}", "out=page.pdf"], "ends in .html"),
        (["{run}", "baseline=no/run"], "no/run"),
        (["{run}", "plain"], "plain"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, teacher_run: Path) -> None:
    code, _, errors = call(*(argument.format(run=teacher_run) for argument in arguments))
    assert code == 2
    [line] = errors.splitlines()
    assert message in line
