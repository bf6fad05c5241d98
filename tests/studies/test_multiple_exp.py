"""The alpha study: flags as anvelezec/distillation has them, its numbers of runs, its tables and its gap."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result as Outcome
from published_folder import write_photographs
from torch import nn
from typer.testing import CliRunner

from understudy.cli import app
from understudy.config import parse_override
from understudy.errors import UserError
from understudy.evaluation.predictions import Predictions
from understudy.experiments.assemble import assemble
from understudy.experiments.settings import resolve
from understudy.experiments.validation import validation_scores
from understudy.record import RunDirectory
from understudy.studies.multiple_exp import Flags, parse_alphas, resolve_flags
from understudy.studies.pooled import pool
from understudy.study_record import StudyDirectory

# The command line of its README, but for what is trained.
README = (
    "multiple_exp --alpha 0.5 --n_exp 4 --data_dir {data} --teacher_file {teacher} --num_epochs {epochs} "
    "--batch_size 32 --lr 0.001 --momentum 0.9 --s_lr_step_size 7 --s_rl_gamma 0"
)
QUICK = ["data.workers=0", "device=cpu", "executor=here"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def call(*arguments: str) -> Outcome:
    return CliRunner().invoke(app, list(arguments))


def flags(teacher: Path, **chosen: Any) -> Flags:
    return Flags(teacher_file=str(teacher), student="cnn-xs", data_dir="digits", out="study", **chosen)


def lines(run: RunDirectory) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [line for line in found if line["kind"] == "epoch"]


@pytest.fixture(scope="module")
def finished(teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyDirectory:
    """Three alphas, two runs each of two epochs on the digits."""
    out = tmp_path_factory.mktemp("alpha") / "study"
    words = (
        f"multiple-exp --alpha 0,0.5 --alpha 1 --n_exp 2 --num_epochs 2 --data_dir digits --student cnn-xs --out {out}"
    )
    outcome = call(*words.split(), "--lr", "0.05", "--teacher_file", str(teacher_run), "device=cpu", "executor=here")
    assert outcome.exit_code == 0, (outcome.stdout, outcome.stderr)
    (out / "said.txt").write_text(outcome.stdout)
    return StudyDirectory(out)


def test_the_command_of_the_readme_runs_on_its_folder_and_makes_four_runs(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "hymenoptera_data")
    train = ["train", f"data={data}", "model=cnn-s", "data.size=16", "device=cpu", "train.epochs=1", "out=teacher"]
    assert call(*train).exit_code == 0
    words = README.format(data=data, teacher="teacher", epochs=1).split()
    outcome = call(*words, "--student", "cnn-xs", "data.size=16", "teacher.allow_untrained=true", *QUICK)
    assert outcome.exit_code == 0, (outcome.stdout, outcome.stderr)
    (study,) = Path("runs").iterdir()
    summary = StudyDirectory(study).read_summary()
    assert [arm["name"] for arm in summary["arms"]] == ["alpha=0.5"]
    runs = list(StudyDirectory(study).runs_of(summary["arms"][0]))
    assert [run.read_result()["seed"] for run in runs] == [1, 2, 3, 4]
    assert [run.read_config()["seed"] for run in runs] == [1, 2, 3, 4]
    train = runs[0].read_config()["train"]
    assert (train["epochs"], train["batch_size"], train["optimizer"]["lr"], train["optimizer"]["momentum"]) == (
        (1, 32, 0.001, 0.9)
    )
    assert (train["schedule"]["step_size"], train["schedule"]["gamma"]) == (7, 0)
    assert runs[0].read_result()["images"]["test"] == 12


@pytest.mark.parametrize("name", ["multiple-exp", "multiple_exp"])
@pytest.mark.parametrize("gamma", ["--s_rl_gamma", "--s_lr_gamma"])
def test_both_spellings_are_known_and_gamma_0_is_warned_about(name: str, gamma: str, teacher_run: Path) -> None:
    words = [name, "--teacher_file", str(teacher_run), "--data_dir", "digits", "--student", "cnn-xs", gamma, "0"]
    outcome = call(*words, "device=cpu", "--dry-run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "learning rate is 0 from epoch 7" in outcome.stdout
    assert not Path("runs").exists()


def test_nobody_is_warned_of_what_does_not_happen(teacher_run: Path) -> None:
    said: list[str] = []
    resolve_flags(flags(teacher_run, gamma=0.0, num_epochs=7), say=said.append)
    resolve_flags(flags(teacher_run, gamma=0.1), say=said.append)
    assert said == []


def test_the_recorded_alpha_is_the_flag(finished: StudyDirectory) -> None:
    for arm, alpha in zip(finished.read_summary()["arms"], (0, 0.5, 1), strict=True):
        assert arm["name"] == f"alpha={alpha:g}"
        for run in finished.runs_of(arm):
            chosen = run.read_config()
            assert (chosen["label"]["weight"], chosen["method"][0]["weight"]) == (alpha, 1 - alpha)


def test_another_alpha_is_another_loss(finished: StudyDirectory) -> None:
    first = [lines(finished.run(f"alpha={alpha}", 1))[0] for alpha in ("0", "0.5", "1")]
    assert len({line["train.loss"] for line in first}) == 3
    assert len({line["val.loss"] for line in first}) == 3
    # The seed is the same, so the pure ones begin from the same student.
    assert first[2]["val.loss"] == pytest.approx(first[2]["val.nll"], rel=1e-5)


def test_loss_and_gap_are_those_of_the_whole_split(finished: StudyDirectory, teacher_run: Path) -> None:
    """Of the selected epoch, whose logits are kept; in loops over images, in double precision."""
    for alpha in ("0", "0.5", "1"):
        run = finished.run(f"alpha={alpha}", 1)
        line = lines(run)[run.read_result()["selected"]["epoch"] - 1]
        own, labels = Predictions.load(run.logits("val"))
        settings = resolve("distill", [run.config], [("teacher", str(teacher_run))])
        made = assemble(settings)
        assert made.teacher is not None
        other, _ = made.predictions(made.teacher.tapped.model, "val")
        ours, theirs = own.double().numpy(), other.double().numpy()
        gap = np.mean([abs(t - s) for s, t in zip(ours.ravel(), theirs.ravel(), strict=True)])
        squares = np.mean([(t - s) ** 2 for s, t in zip(ours.ravel(), theirs.ravel(), strict=True)])
        entropy = np.mean([np.log(np.exp(row).sum()) - row[k] for row, k in zip(ours, labels.tolist(), strict=True)])
        centred = np.mean(np.abs((theirs - theirs.mean(1)[:, None]) - (ours - ours.mean(1)[:, None])))
        assert line["val.gap"] == pytest.approx(gap, rel=1e-5)
        assert line["val.gap_centred"] == pytest.approx(centred, rel=1e-5)
        assert line["val.loss"] == pytest.approx(float(alpha) * entropy + (1 - float(alpha)) * squares, rel=1e-5)


@pytest.mark.parametrize("batch", [7, 64])
def test_the_gap_depends_on_no_batch(batch: int, teacher_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = ["data=digits", "student=cnn-xs", f"teacher={teacher_run}", "method=logit-mse", "device=cpu"]
    made = assemble(resolve("distill", [], [*map(parse_override, pairs), ("train.batch_size", batch)]))
    assert made.teacher is not None
    taught = made.predictions(made.teacher.tapped.model, "val")
    monkeypatch.setattr("understudy.experiments.assembly.EVALUATION_BATCH", batch)
    made.loaders.clear()
    found = validation_scores(made, made.student, taught)
    own = made.predictions(made.student, "val")
    assert found["gap"] == pytest.approx((taught.logits - own.logits).abs().mean().item(), rel=1e-5)


def test_a_method_of_features_has_a_gap_and_no_loss_that_logits_could_tell(teacher_run: Path) -> None:
    pairs = ["data=digits", "student=cnn-xs", f"teacher={teacher_run}", "method=[kd,at]", "device=cpu"]
    made = assemble(resolve("distill", [], list(map(parse_override, pairs))))
    found = validation_scores(made, made.student, made.predictions(made.student, "val"))
    assert (found["gap"], "loss" in found) == (0, False)


def test_the_pooled_table_is_that_of_all_epochs_of_all_runs(finished: StudyDirectory) -> None:
    summary = finished.read_summary()
    rows = pool(finished, summary)
    for arm in summary["arms"]:
        epochs = [line for run in finished.runs_of(arm) for line in lines(run)]
        assert len(epochs) == 4
        for name in ("loss", "accuracy", "gap", "gap_centred"):
            values = [line[f"val.{name}"] for line in epochs]
            assert rows[arm["name"]][name] == pytest.approx((np.mean(values), np.std(values, ddof=1), 4))
        assert rows[arm["name"]]["teacher_accuracy"].std == pytest.approx(0)
    said = (finished.path / "said.txt").read_text()
    assert f"{rows['alpha=0']['loss'].mean:.6f}" in said
    assert "mixes the seeds" in said
    saved = json.loads((finished.path / "pooled.json").read_text())["arms"]["alpha=0.5"]["diff_t_s"]
    assert saved["mean"] == rows["alpha=0.5"]["gap"].mean


def test_alphas_are_compared_on_the_test_split_with_the_labels_alone(finished: StudyDirectory) -> None:
    compared = [(each["arm"], each["against"], each["n"]) for each in finished.read_summary()["comparisons"]]
    assert compared == [("alpha=0", "alpha=1", 2), ("alpha=0.5", "alpha=1", 2)]


def test_figures_come_with_their_numbers(finished: StudyDirectory) -> None:
    for name in ("loss", "accuracy", "gap"):
        for suffix in ("", "-last-15"):
            path = finished.path / f"val-{name}{suffix}.png"
            assert path.stat().st_size > 5000
        rows = list(csv.DictReader((finished.path / f"val-{name}.csv").read_text().splitlines()))
        assert [(row["arm"], row["epoch"], row["runs"]) for row in rows[1:3]] == [
            ("alpha=0", "2", "2"),
            ("alpha=0.5", "1", "2"),
        ]
        values = [lines(run)[1][f"val.{name}"] for run in (finished.run("alpha=0", 1), finished.run("alpha=0", 2))]
        assert float(rows[1]["mean"]) == pytest.approx(np.mean(values))
        assert float(rows[1]["std"]) == pytest.approx(np.std(values, ddof=1))


def test_another_alpha_joins_the_study(teacher_run: Path) -> None:
    first = resolve_flags(flags(teacher_run, n_exp=2))
    first.directory.path.mkdir()
    first.directory.write_config(first.tree())
    second = resolve_flags(flags(teacher_run, alpha=(1.0,), n_exp=2), say=lambda line: None)
    assert [(arm.name, arm.against) for arm in second.arms] == [("alpha=0.5", "alpha=1"), ("alpha=1", None)]
    assert second.run("alpha=0.5/seed1").settings.tree() == first.run("alpha=0.5/seed1").settings.tree()


def test_weights_belong_to_the_named_model_and_see_what_imagenet_models_see(teacher_run: Path) -> None:
    file = Path("teacher.pt")
    torch.save({"state_dict": {}}, file)
    teacher = resolve_flags(flags(file)).runs()[0].settings.teacher
    assert teacher is not None
    assert (teacher["name"], teacher["weights"]) == ("torchvision:resnet50", "teacher.pt")
    assert teacher["mean"] == [0.485, 0.456, 0.406]


def test_a_pickled_module_is_refused_in_one_line_before_anything_is_written() -> None:
    torch.save(nn.Linear(2, 2), "resnet50_bees.pt")
    words = ["multiple-exp", "--teacher_file", "resnet50_bees.pt", "--data_dir", "digits", "--student", "cnn-xs"]
    outcome = call(*words, "device=cpu")
    assert outcome.exit_code == 2
    assert "could run code" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_a_student_without_its_published_weights_is_refused_in_one_line(
    tmp_path: Path, teacher_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: Any, **settings: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    outcome = call("multiple-exp", "--teacher_file", str(teacher_run), "--data_dir", "digits", "device=cpu")
    assert outcome.exit_code == 2
    assert "put resnet18-f37072fd.pth into" in outcome.stderr
    assert not Path("runs").exists()


WRONG = {
    "too large": (["1.5"], "not between 0"),
    "no number": (["half"], "no list of numbers"),
    "twice": (["0.5", "0,0.50"], "a value twice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_alphas(name: str) -> None:
    texts, message = WRONG[name]
    with pytest.raises(UserError, match=message):
        parse_alphas(texts)


def test_other_wrong_flags(teacher_run: Path) -> None:
    with pytest.raises(UserError, match="n_exp 0"):
        resolve_flags(flags(teacher_run, n_exp=0))
    with pytest.raises(UserError, match="no such teacher"):
        resolve_flags(flags(teacher_run / "absent"))
    with pytest.raises(UserError, match="no such folder 'nowhere'"):
        assemble(resolve_flags(flags(teacher_run)._replace(data_dir="nowhere")).runs()[0].settings)
