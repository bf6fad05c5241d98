import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import made_run, made_study, predictions
from scipy import stats

from understudy.config import Shape, merge
from understudy.errors import UserError
from understudy.record import RunDirectory, write_json, write_text
from understudy.report.make import Written
from understudy.report.numbers import latency
from understudy.report.run_subject import run_subject
from understudy.report.study_subject import study_subject
from understudy.report.verdict import difference_of, judge, savings
from understudy.yaml_file import yaml_text


def pair(tmp_path: Path, plain: int, distilled: int, **chosen: object) -> tuple[Path, Path]:
    teacher = predictions(195)
    made_run(tmp_path / "plain", predictions(plain))
    made_run(tmp_path / "kd", predictions(distilled), teacher=teacher, method=["kd"], **chosen)  # type: ignore[arg-type]
    return tmp_path / "kd", tmp_path / "plain"


@pytest.mark.parametrize(
    ("plain", "distilled", "outcome", "words"),
    [
        (150, 170, "helped", "kd helped: cnn-xs is right about 85.00\N{NO-BREAK SPACE}%"),
        (170, 150, "hurt", "kd hurt:"),
        (150, 151, "not shown", "kd is not shown to help:"),
        (150, 150, "not shown", "kd is not shown to help:"),
        (150, 50, "did not train", "The student did not train: kd is no better than guessing"),
        (50, 150, "did not train", "The student did not train: plain is no better than guessing"),
    ],
)
def test_a_pair_of_runs(tmp_path: Path, plain: int, distilled: int, outcome: str, words: str) -> None:
    run, baseline = pair(tmp_path, plain, distilled)
    verdict = judge(run_subject(run, baseline=baseline))
    assert verdict.outcome == outcome
    assert words in verdict.sentence
    assert "not the luck of the seed" in verdict.remarks[0]


def test_the_interval_of_a_pair_is_over_its_images(tmp_path: Path) -> None:
    run, baseline = pair(tmp_path, 150, 160)
    difference = difference_of(run_subject(run, baseline=baseline))
    assert difference is not None
    changes = np.array([0] * 150 + [1] * 10 + [0] * 40, float)
    expected = stats.ttest_1samp(changes, 0)
    assert difference.mean == pytest.approx(0.05)
    assert (difference.low, difference.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert expected.pvalue >= 0.001
    assert f"p = {expected.pvalue:.2g}" in difference.basis


def test_without_a_baseline_nothing_is_claimed(tmp_path: Path) -> None:
    run, _ = pair(tmp_path, 150, 170)
    verdict = judge(run_subject(run))
    assert verdict.outcome == "no baseline"
    assert "Whether it helped is not known" in verdict.sentence
    assert "no plain baseline" in verdict.sentence
    # And what to do about it.
    assert f"understudy train -c {run}/config.yaml out={run}-plain" in verdict.remarks[0]


def test_a_teacher_is_compared_with_nothing(tmp_path: Path) -> None:
    made_run(tmp_path / "teacher", predictions(150))
    subject = run_subject(tmp_path / "teacher")
    assert subject.teacher is None
    assert judge(subject).outcome == "no baseline"
    assert "nothing to compare it with" in judge(subject).sentence
    assert savings(subject) == ""


def test_savings_are_ratios_of_the_measured_costs(tmp_path: Path) -> None:
    run, _ = pair(tmp_path, 150, 170)
    text = savings(run_subject(run))
    assert "14 times fewer parameters and 6.86 times fewer multiply-adds" in text
    assert f"keeps {170 / 195:.1%}".replace("%", "\N{NO-BREAK SPACE}%") in text


def test_a_student_that_is_not_smaller_saves_nothing(tmp_path: Path) -> None:
    run, _ = pair(tmp_path, 150, 170)
    record = json.loads(RunDirectory(run).evaluation.read_text())
    record["cost"].update(parameters=560_000, macs=2_400_000)
    write_json(RunDirectory(run).evaluation, record)
    assert "it has 2 times more parameters and as many multiply-adds, and keeps" in savings(run_subject(run))


@pytest.mark.parametrize(
    ("plain", "kd", "outcome"),
    [
        ((150, 152, 151), (160, 163, 161), "helped"),
        ((160, 163, 161), (150, 152, 151), "hurt"),
        ((150, 152, 151), (151, 149, 153), "not shown"),
        ((150, 152, 50), (160, 163, 161), "did not train"),
        ((150,), (170,), "not shown"),
        # The same difference twice, which may be chance.
        ((150, 152), (160, 162), "not shown"),
    ],
)
def test_a_study(tmp_path: Path, plain: tuple[int, ...], kd: tuple[int, ...], outcome: str) -> None:
    study(tmp_path, {"plain": plain, "kd": kd})
    verdict = judge(study_subject(tmp_path))
    assert verdict.outcome == outcome
    if outcome == "did not train":
        assert "1 of 3 runs of plain is no better than guessing" in verdict.sentence
    elif len(plain) == 1:
        assert "too few pairs" in verdict.sentence
    elif len(plain) == 2:
        assert "points (no interval as all differences are equal, 2 pairs of runs)" in verdict.sentence
    else:
        assert f"{len(plain)} pairs of runs" in verdict.sentence


def test_the_arm_is_chosen_on_validation_images(tmp_path: Path) -> None:
    study(tmp_path, {"plain": (150, 151), "kd": (160, 163), "dkd": (170, 171)})
    assert study_subject(tmp_path).main.name == "dkd"
    summary = json.loads((tmp_path / "study.json").read_text())
    summary["arms"][1]["val"]["accuracy"]["mean"] = 0.99
    write_json(tmp_path / "study.json", summary)
    subject = study_subject(tmp_path)
    assert subject.main.name == "kd"
    assert "the best of 2 arms on validation images" in judge(subject).remarks[0]


def test_the_best_of_several_arms_must_also_help_where_all_are_allowed_for(tmp_path: Path) -> None:
    plain, kd = (150, 152, 151), (153, 156, 156)
    study(tmp_path / "one", {"plain": plain, "kd": kd})
    alone = judge(study_subject(tmp_path / "one"))
    assert alone.outcome == "helped"
    assert "allowing for" not in alone.sentence
    others = {name: (149, 153, 151) for name in ("at", "dkd", "fitnets")}
    study(tmp_path / "four", {"plain": plain, "kd": kd, **others})
    subject = study_subject(tmp_path / "four")
    verdict = judge(subject)
    assert subject.main.name == "kd"
    assert verdict.outcome == "not shown"
    p = stats.ttest_rel(kd, plain).pvalue
    assert p < 0.05 < 4 * p
    assert f"p = {p:.2g}, {4 * p:.2g} allowing for 4 arms, 3 pairs of runs" in verdict.sentence


def test_teacher_and_students_have_the_least_latency_of_all_runs(tmp_path: Path) -> None:
    study(tmp_path, {"plain": (150, 152), "kd": (160, 163)})
    for seed, (own, taught) in enumerate(((0.9, 3.0), (0.7, 2.0)), 1):
        file = RunDirectory(tmp_path / "runs" / "kd" / f"seed{seed}").evaluation
        record = json.loads(file.read_text())
        record["cost"]["latency"][0]["p50_ms"] = own
        record["teacher"]["cost"]["latency_ms"] = taught
        write_json(file, record)
    subject = study_subject(tmp_path)
    # The plain students have the same network, and were measured at 0.4.
    assert [latency(member.cost) for member in subject.members] == [2.0, 0.4, 0.4]


def test_a_study_without_a_baseline(tmp_path: Path) -> None:
    study(tmp_path, {"kd": (160, 163)}, baseline=None)
    assert judge(study_subject(tmp_path)).outcome == "no baseline"


def test_what_is_missing_from_a_study_is_said(tmp_path: Path, page_of: Callable[..., Written]) -> None:
    study(tmp_path, {"plain": (150, 152), "kd": (160, 163)})
    summary = json.loads((tmp_path / "study.json").read_text())
    failed = {"arm": "kd", "seed": 3, "fold": None, "error": "the device is out of memory"}
    write_json(tmp_path / "study.json", {**summary, "planned": 6, "failed": [failed], "warnings": ["a <warning>"]})
    text = page_of(tmp_path).page.read_text()
    assert "4 of 6 runs have ended" in text
    assert "kd, seed 3, failed: the device is out of memory" in text
    assert "a &lt;warning&gt;" in text


def test_unequal_budgets_are_said(tmp_path: Path) -> None:
    run, baseline = pair(tmp_path, 150, 170, epochs=5, seed=2)
    warnings = run_subject(run, baseline=baseline).warnings
    assert "not the same seed: 2 here, 1 in the baseline" in warnings
    assert "not the same train.epochs: 5 here, 3 in the baseline" in warnings


def test_whatever_should_be_equal_and_is_not_is_said(tmp_path: Path) -> None:
    run, baseline = pair(tmp_path, 150, 170)
    change(baseline, {"train": {"optimizer": {"name": "adamw", "lr": 0.1}}, "data": {"sampling": {"1": 0.9}}})
    change(run, {"train": {"optimizer": {"name": "adamw", "lr": 0.002}}, "student": {"init": "teacher"}})
    assert sorted(run_subject(run, baseline=baseline).warnings) == [
        "not the same data.sampling.1: None here, 0.9 in the baseline",
        "not the same student.init: teacher here, None in the baseline",
        "not the same train.optimizer.lr: 0.002 here, 0.1 in the baseline",
    ]


def test_what_makes_a_baseline_of_a_run_is_no_difference(tmp_path: Path) -> None:
    run, baseline = pair(tmp_path, 150, 170)
    taught = {"teacher": {"name": "runs/teacher"}, "label": {"weight": 0.1}, "cache": {"name": "on"}, "out": "a"}
    change(run, {**taught, "student": {"exits": 2, "exit_heads": "conv1"}, "data": {"root": "there"}})
    change(baseline, {"teacher": None, "label": {"weight": None}, "out": "b", "loggers": ["csv"]})
    assert run_subject(run, baseline=baseline).warnings == []


def test_a_baseline_that_was_taught_is_said(tmp_path: Path) -> None:
    run, _ = pair(tmp_path, 150, 170)
    made_run(tmp_path / "dkd", predictions(160), teacher=predictions(195), method=["dkd"])
    (warning,) = run_subject(run, baseline=tmp_path / "dkd").warnings
    assert warning == "the baseline is not plain training: it learnt by dkd"


def change(run: Path, settings: dict[str, Any]) -> None:
    directory = RunDirectory(run)
    write_text(directory.config, yaml_text(merge(directory.read_config(), settings, Shape())))


def test_a_baseline_on_other_images_is_refused(tmp_path: Path) -> None:
    run, _ = pair(tmp_path, 150, 170)
    made_run(tmp_path / "other", predictions(100, num_classes=5))
    with pytest.raises(UserError, match="on other data"):
        run_subject(run, baseline=tmp_path / "other")


def test_two_arms_of_one_method_have_names_of_their_own(tmp_path: Path) -> None:
    run, _ = pair(tmp_path, 150, 170)
    made_run(tmp_path / "kd-2", predictions(160), teacher=predictions(195), method=["kd"])
    subject = run_subject(run, baseline=tmp_path / "kd-2")
    assert [member.name for member in subject.members] == ["teacher", "kd (kd-2)", "kd"]


def study(path: Path, right: dict[str, tuple[int, ...]], *, baseline: str | None = "plain") -> None:
    teacher = predictions(190, seed=9)
    arms = {
        name: [
            made_run(
                path / "runs" / name / f"seed{seed}",
                predictions(count, seed=seed),
                teacher=None if name == "plain" else teacher,
                method=() if name == "plain" else [name],
                seed=seed,
            )
            for seed, count in enumerate(counts, 1)
        ]
        for name, counts in right.items()
    }
    made_study(path, arms, baseline=baseline)
