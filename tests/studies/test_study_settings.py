"""From files and flags to arms and runs."""

from pathlib import Path
from typing import Any

import pytest
from quick_studies import Studies

from understudy.errors import UserError
from understudy.studies.resolve import resolve_study
from understudy.studies.settings import Study
from understudy.yaml_file import yaml_text


def names(study: Study) -> list[str]:
    return [arm.name for arm in study.arms]


def settings(study: Study, name: str) -> dict[str, Any]:
    return next(arm.settings.tree() for arm in study.arms if arm.name == name)


def test_a_method_alone_is_compared_with_plain_training(study: Studies) -> None:
    found = study(("method", "dkd"), ("seeds", 2), ("label.weight", 0.5))
    assert names(found) == ["plain", "dkd"]
    plain, dkd = found.arms
    assert (plain.command, plain.against, dkd.command, dkd.against) == ("train", None, "distill", "plain")
    # Equal budget: nothing else differs.
    different = {key for key, value in plain.settings.tree().items() if value != dkd.settings.tree()[key]}
    assert different == {"teacher", "method", "label", "cache"}
    assert plain.settings.label.weight is None
    assert [run.name for run in found.runs()] == ["plain/seed1", "dkd/seed1", "plain/seed2", "dkd/seed2"]


def test_runs_have_seeds_and_places_of_their_own(study: Studies) -> None:
    found = study(("methods", ["kd", "at"]), ("seeds", [4, 2]))
    assert [(run.arm, run.seed, run.settings.seed) for run in found.runs()] == [
        (arm, seed, seed) for seed in (4, 2) for arm in ("plain", "kd", "at")
    ]
    places = [run.settings.out for run in found.runs()]
    assert places[1] == str(found.directory.path / "runs/kd/seed4")
    assert len(set(places)) == 6


@pytest.mark.parametrize(
    ("overrides", "seeds"),
    [([], (1, 2, 3, 4, 5)), ([("seeds", 2)], (1, 2)), ([("seeds", 2), ("seed", 7)], (7, 8)), ([("seeds", [9])], (9,))],
)
def test_seeds(overrides: list[tuple[str, Any]], seeds: tuple[int, ...], study: Studies) -> None:
    assert study(("method", "kd"), *overrides).seeds == seeds


def test_methods_may_have_settings_and_teach_together(study: Studies) -> None:
    found = study(
        ("methods", [{"name": "kd", "temperature": 2}, "dkd", ["at", "kd"]]), ("method.at.weight", 7), ("seeds", 1)
    )
    assert names(found) == ["plain", "kd", "dkd", "at+kd"]
    assert settings(found, "kd")["method"][0]["temperature"] == 2
    together = settings(found, "at+kd")["method"]
    assert [method["name"] for method in together] == ["at", "kd"]
    assert together[0]["weight"] == 7
    # Each arm starts from the method's own defaults.
    assert together[1]["temperature"] == 4


def test_a_grid_divides_every_arm(study: Studies) -> None:
    grid = {"method.temperature": [2, 4], "label.weight": [0.1, 0.5]}
    found = study(("methods", ["kd", "soft-ce"]), ("grid", grid))
    assert names(found)[:3] == ["plain", "kd,temperature=2,weight=0.1", "kd,temperature=2,weight=0.5"]
    assert len(found.arms) == 1 + 2 * 4
    last = settings(found, "soft-ce,temperature=4,weight=0.5")
    assert (last["method"][0]["temperature"], last["label"]["weight"]) == (4, 0.5)


def test_a_grid_alone_names_the_arms(study: Studies) -> None:
    assert names(study(("grid.method.temperature", [2, 4.5]))) == ["plain", "temperature=2", "temperature=4.5"]
    two = study(("method", ["kd", "at"]), ("grid", {"method.kd.weight": [1], "method.at.weight": [2]}))
    assert names(two) == ["plain", "method.kd.weight=1,method.at.weight=2"]


def test_arms_that_train_otherwise_have_baselines_of_their_own(study: Studies) -> None:
    found = study(("grid", {"train.optimizer.lr": [0.1, 0.2], "method.temperature": [2, 4]}))
    plain = [arm for arm in found.arms if arm.plain]
    assert [arm.settings.train.optimizer["lr"] for arm in plain] == [0.1, 0.2]
    assert [arm.name for arm in plain] == ["plain-train.optimizer.lr=0.1", "plain-train.optimizer.lr=0.2"]
    assert {arm.name: arm.against for arm in found.arms if not arm.plain} == {
        "lr=0.1,temperature=2": plain[0].name,
        "lr=0.1,temperature=4": plain[0].name,
        "lr=0.2,temperature=2": plain[1].name,
        "lr=0.2,temperature=4": plain[1].name,
    }


def test_a_baseline_keeps_its_name_whatever_arms_are_added(study: Studies) -> None:
    few, many = (
        study(("grid", {"method.temperature": values, "train.optimizer.lr": [0.1, 0.2]})) for values in ([2, 4], [1, 2])
    )
    plain = [[(arm.name, arm.settings) for arm in found.arms if arm.plain] for found in (few, many)]
    assert plain[0] == plain[1]
    # Exits are taken out of plain training.
    without, beside = ({"wide": {"student.width": 32, **exits}} for exits in ({}, {"student.exits": 1}))
    names_ = [names(study(("arms", arms), ("method", "self-distillation")))[0] for arms in (without, beside)]
    assert names_ == ["plain-student.width=32"] * 2


def test_plain_is_always_what_the_common_settings_say(study: Studies) -> None:
    first = ("arms.kd.method", "kd")
    assert names(study(first)) == ["plain", "kd"]
    assert names(study(("arms.wide.student.width", 32), first)) == ["plain", "plain-student.width=32", "kd", "wide"]
    without = ("arms", {"small": {"student": "cnn-xs"}, "large": {"student": "cnn-s"}})
    assert names(study(without)) == ["plain", "plain-student=cnn-s", "small", "large"]


def test_a_file_is_that_of_a_distillation_with_arms(study: Studies, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("""
method: {name: kd, temperature: 3}
train: {batch_size: 32}
seeds: 2
arms:
  kd: {}
  hot: {method.temperature: 8}
  at+kd: {method: [{name: at, weight: 5}, kd]}
  smooth: {method: [], label: {smoothing: 0.1}}
""")
    found = study(files=[file])
    assert names(found) == ["plain", "kd", "hot", "at+kd", "smooth"]
    temperatures = [[method.get("temperature") for method in settings(found, name)["method"]] for name in names(found)]
    assert temperatures == [[], [3], [8], [None, 3], []]
    assert {arm.settings.train.batch_size for arm in found.arms} == {32}
    # Label smoothing is what makes this arm, so its baseline has none.
    smooth = found.arms[-1]
    assert (smooth.command, smooth.against) == ("train", "plain")
    assert found.arms[0].settings.label.smoothing == 0


def test_the_file_of_a_run_is_one_too(study: Studies, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    run = study(("method", "kd"), ("seeds", [3]), ("label.weight", 0.5)).runs()[1]
    file.write_text(yaml_text(run.settings.tree()))
    found = resolve_study([file], [("methods", ["kd", "at"]), ("seeds", 2), ("out", str(tmp_path / "s"))])
    assert found.seeds == (3, 4)
    assert settings(found, "kd")["label"]["weight"] == 0.5


@pytest.mark.parametrize(
    "overrides",
    [
        [("method", "kd")],
        [("methods", ["kd", ["at", "kd"]]), ("method.kd.temperature", 2), ("baseline", "kd"), ("folds", 3)],
        [("grid", {"train.optimizer.lr": [0.1, 0.2], "method.temperature": [2, 4]}), ("seeds", [5, 3])],
        [("arms", {"a": {"student": "cnn-s"}, "b": {"method": "at"}}), ("baseline", "none")],
    ],
)
def test_what_is_written_is_the_same_study(overrides: list[tuple[str, Any]], study: Studies, tmp_path: Path) -> None:
    found = study(*overrides)
    file = tmp_path / "study.yaml"
    file.write_text(yaml_text(found.tree()))
    again = resolve_study([file], [])
    assert [run.settings for run in again.runs()] == [run.settings for run in found.runs()]
    assert again.arms == found.arms


def test_folds_divide_the_data_of_every_seed(study: Studies) -> None:
    found = study(("method", "kd"), ("seeds", 2), ("folds", 3))
    assert len(found.runs()) == 2 * 2 * 3
    assert found.runs()[2].name == "plain/seed1-fold2"
    assert [(run.settings.data["folds"], run.settings.data["fold"]) for run in found.runs()[:4]] == [
        (3, 1),
        (3, 1),
        (3, 2),
        (3, 2),
    ]


def test_an_arm_or_nothing_may_be_the_baseline(study: Studies) -> None:
    assert {arm.name: arm.against for arm in study(("methods", ["kd", "at"]), ("baseline", "kd")).arms} == {
        "kd": None,
        "at": "kd",
    }
    assert {arm.against for arm in study(("methods", ["kd", "at"]), ("baseline", "none")).arms} == {None}


WRONG = {
    "twice": ([("methods", ["kd", "kd"])], "two arms are called 'kd'"),
    "the same": ([("arms", {"a": {}, "b": {"method.temperature": 4}})], "'a' and 'b' are the same"),
    "taken": ([("arms", {"plain": {}})], "called 'plain' as the baseline is"),
    "no directory": ([("arms", {"a/b": {}})], "cannot be called 'a/b'"),
    "no baseline": ([("methods", ["kd"]), ("baseline", "kdd")], "did you mean 'kd'"),
    "seed twice": ([("seeds", [1, 1])], "a seed twice"),
    "no seeds": ([("seeds", 0)], "seeds=0"),
    "negative": ([("seeds", [-1])], "seeds"),
    "one fold": ([("folds", 1)], "folds=1"),
    "grid of one value": ([("grid", {"method.temperature": 2})], "method.temperature=2"),
    "empty grid": ([("grid", {"method.temperature": []})], "list of values"),
    "unknown key in an arm": ([("arms", {"a": {"method.temperatures": 2}})], "arm 'a'.*did you mean 'temperature'"),
    "unknown key": ([("trains.epochs", 2)], "did you mean 'train'"),
    "unknown method": ([("methods", ["kdd"])], "kdd"),
    "nameless method": ([("methods", [{"temperature": 2}])], "has no name"),
    "whose temperature": ([("methods", ["kd", "at"]), ("method.temperature", 2)], "which of the methods"),
    "of no arm": ([("methods", ["kd"]), ("method.at.weight", 2)], "no arm learns by at"),
    "of no arm either": ([("arms", {"a": {"method": "at"}}), ("method.temperature", 2)], "no arm learns by kd"),
    "executor": ([("executor", "locals")], "did you mean 'local'"),
    "its setting": ([("executor", {"name": "local", "worker": 2})], "did you mean 'workers'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(name: str, study: Studies) -> None:
    overrides, message = WRONG[name]
    with pytest.raises(UserError, match=message) as caught:
        study(*overrides)
    assert "\n" not in str(caught.value)


def test_a_run_by_its_name(study: Studies) -> None:
    found = study(("method", "kd"), ("seeds", 2))
    assert found.run("kd/seed2").settings == found.runs()[3].settings
    with pytest.raises(UserError, match="did you mean 'kd/seed2'"):
        found.run("kd/seed3")


def test_the_executor_is_local_unless_named() -> None:
    common = [("data", "digits"), ("student", "cnn-xs"), ("teacher", "cnn-s")]
    local = {"name": "local", "workers": 2, "threads": None}
    assert resolve_study([], [*common, ("executor.workers", 2)]).executor == local
    slurm = resolve_study([], [*common, ("executor", "slurm"), ("executor.parallel", 3)])
    assert slurm.executor == {"name": "slurm", "parallel": 3, "options": None}


def test_out_has_a_default(teacher_run: Path) -> None:
    found = resolve_study([], [("data", "digits"), ("student", "cnn-xs"), ("teacher", str(teacher_run))])
    assert str(found.directory.path) == "runs/digits-cnn-xs-study"
