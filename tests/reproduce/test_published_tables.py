"""The published tables: each is complete, resolves, and says what its recipes say; what is computed agrees."""

import re
from pathlib import Path
from typing import Literal

import pytest

from understudy.errors import UserError
from understudy.experiments.recipe_files import recipe_file
from understudy.reproduce.outcome import values_of
from understudy.reproduce.plan import Chosen, plan
from understudy.reproduce.run import compute
from understudy.reproduce.table import Column, Row, Table, read_table, table_names
from understudy.studies.arms import directory_name

TABLES = {name: read_table(name) for name in table_names()}
TRAINED = [name for name, table in TABLES.items() if not table.computed]
COMPUTED = [(name, row.label) for name, table in TABLES.items() for row in table.rows if row.compute]
PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_complete(name: str) -> None:
    table = TABLES[name]
    labels, columns = [row.label for row in table.rows], [column.name for column in table.columns]
    assert len(set(labels)) == len(labels)
    assert len(set(columns)) == len(columns)
    assert table.source
    assert table.baseline in (None, *labels)
    assert table.small in ("", False, *columns)
    for row in table.rows:
        assert len(row.published) == len(row.spread or row.published) == len(columns)
        assert any(value is not None for value in row.published)
        assert row.against in (None, *labels)
        assert bool(row.compute) + bool(row.recipe) + bool(row.metric) == 1
        assert (row.tolerance is not None) == bool(row.compute)


@pytest.mark.parametrize("name", TRAINED)
def test_every_cell_has_runs_that_resolve(name: str) -> None:
    table = TABLES[name]
    groups = plan(table, Chosen(Path("out")))
    cells = [cell for group in groups for cell in group.cells]
    assert len(cells) == sum(value is not None for row in table.rows for value in row.published)
    for group in groups:
        arms = {arm.name: arm.settings for arm in group.study.arms}
        assert group.study.seeds == tuple(range(1, table.seeds + 1))
        for cell in group.cells:
            assert (cell.arm in arms) == (cell.row.recipe is not None)
        for settings in arms.values():
            assert settings.label.weight is not None
            if group.teacher is not None and settings.teacher is not None:
                assert settings.teacher["name"] == group.teacher.out
                assert settings.data["name"] == group.teacher.data["name"]
                assert settings.student["name"] != group.teacher.student["name"]


@pytest.mark.parametrize("name", [name for name in TRAINED if TABLES[name].small is not False])
def test_the_small_version_has_the_same_methods_and_weights(name: str) -> None:
    chosen = Chosen(Path("out"), scale="small")
    (small,) = plan(TABLES[name], chosen)
    wanted = tuple(dict.fromkeys(cell.column.name for cell in small.cells))
    (full,) = plan(TABLES[name], chosen._replace(scale="full", columns=wanted))
    assert len(small.study.seeds) >= 3
    for little, big in zip(small.cells, [cell for cell in full.cells if cell.row.small], strict=True):
        assert (little.row, little.column) == (big.row, big.column)
        if big.arm is None:
            continue
        ours, theirs = (
            next(arm.settings for arm in group.study.arms if arm.name == cell.arm)
            for group, cell in ((small, little), (full, big))
        )
        assert (ours.data["name"], ours.student["name"]) == ("digits", "cnn-xs")
        assert ours.label == theirs.label
        assert (ours.teacher is None) == (theirs.teacher is None)
        if ours.teacher is not None:
            assert small.teacher is not None
            assert ours.teacher["name"] == small.teacher.out
        assert [fixed(method) for method in ours.method] == [fixed(method) for method in theirs.method]


def fixed(settings: object) -> object:
    """Settings without what is counted in epochs."""
    if not isinstance(settings, dict):
        return settings
    counted = ("to_epoch", "from_epoch", "every")
    return {key: fixed(value) for key, value in settings.items() if key not in counted and not key.endswith("_epochs")}


def test_what_lasts_some_epochs_lasts_the_same_share() -> None:
    (small,) = plan(TABLES["cifar100-same"], Chosen(Path("out"), scale="small"))
    arms = {arm.name: arm.settings.method[0] for arm in small.study.arms if arm.settings.method}
    assert arms["AB"]["init_epochs"] == round(30 * 30 / 240)
    assert arms["ReviewKD"]["weight"]["to_epoch"] == round(19 * 30 / 240)


EMPTY = {"arms": [], "teacher_result": None}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("byot", ["ResNet-18 alone", "ResNet-18, paper"]),
        (
            "seed000-exits",
            [
                *("ResNet-50 alone", "ResNet-50 branches", "ResNet-50 self-distilled"),
                *("EfficientNet-B0 branches", "EfficientNet-B0 self-distilled"),
            ],
        ),
    ],
)
def test_a_small_table_has_no_row_of_the_runs_of_another(name: str, labels: list[str]) -> None:
    (small,) = plan(TABLES[name], Chosen(Path("out"), scale="small"))
    values = values_of(TABLES[name], small, EMPTY, small=True)
    assert list(dict.fromkeys(value.label for value in values)) == labels
    (full,) = plan(TABLES[name], Chosen(Path("out")))
    assert len(values_of(TABLES[name], full, EMPTY, small=False)) == len(full.cells)


@pytest.mark.parametrize("scale", ["full", "small"])
def test_a_gain_is_over_the_baseline_of_its_source(scale: Literal["full", "small"]) -> None:
    table = TABLES["imagenet-resnet50-mobilenetv1"]
    (group,) = plan(table, Chosen(Path("out"), scale=scale))
    gains = {value.label: value.published_gain for value in values_of(table, group, EMPTY, small=scale == "small")}
    assert gains["KD"] == pytest.approx(70.50 - 68.87)
    assert gains["DIST"] == pytest.approx(3.11)


# Tables whose values the comments of the recipes repeat, with how many of them.
@pytest.mark.parametrize(
    ("name", "count"),
    [("cifar100-same", 137), ("cifar100-cross", 10), ("imagenet-resnet34-resnet18", 4), ("seed004-kd-cifar100", 2)],
)
def test_published_values_are_those_of_the_recipes(name: str, count: int) -> None:
    table = TABLES[name]
    cells = [
        (row.label, column.name, value, said(row, column))
        for row in table.rows
        for column, value in zip(table.columns, row.published, strict=True)
        if row.recipe and not row.settings and value is not None
    ]
    compared = [cell for cell in cells if cell[3] is not None]
    assert [cell for cell in compared if cell[2] != cell[3]] == []
    assert len(compared) == count


def said(row: Row, column: Column) -> float | None:
    """The figure of a cell in the comments of the recipe of its row; None where they have none."""
    assert row.recipe is not None
    text = recipe_file(row.recipe.format(column=directory_name(column.name))).read_text(encoding="utf-8")
    pair = re.search(r"(\S+) -> ([^\s.:,]+)", text.splitlines()[0])
    of_another = pair and "/" in column.name and column.name != f"{pair[1]}/{pair[2]}"
    # Plain training is of the student alone.
    name = column.name if pair else str(column.settings["student"])
    wanted = rf"[ ,]{re.escape(name)} (\d+\.\d+)" if of_another or not pair else r"^# Published[^:]*: (\d+\.\d+)"
    found = re.search(wanted, text, re.MULTILINE)
    return float(found[1]) if found else None


@pytest.mark.parametrize(("name", "label"), COMPUTED)
def test_a_computed_value_agrees(name: str, label: str) -> None:
    value = compute(TABLES[name].row(label))
    assert value.agrees, value


def test_a_computed_value_that_is_off_does_not_agree() -> None:
    row = TABLES["seed001-parameters"].rows[0]
    assert row.tolerance == 0
    assert compute(row.model_copy(update={"published": [23_512_131]})).agrees is False


def test_the_page_lists_the_tables_that_there_are() -> None:
    listed = re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == table_names()


WRONG = {
    "row": ({"rows": ("KDD",)}, "no rows 'KDD'.*did you mean 'KD'"),
    "column": ({"columns": ("resnet56/resnet8",)}, "no columns"),
    "teacher": ({"teachers": {"resnet20": "runs/x"}}, "trains no teacher 'resnet20'"),
    "setting": ({"overrides": [("method.temperature", 2)]}, "would make another table"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line(what: str) -> None:
    changed, message = WRONG[what]
    with pytest.raises(UserError, match=message):
        plan(TABLES["cifar100-same"], Chosen(Path("out"))._replace(**changed))


def test_some_tables_say_nothing_on_a_small_scale() -> None:
    with pytest.raises(UserError, match="no small version"):
        plan(TABLES["seed004-baselines"], Chosen(Path("out"), scale="small"))
    with pytest.raises(UserError, match="did you mean 'cifar100-same'"):
        read_table("cifar100-sam")


def test_a_trained_teacher_may_be_given() -> None:
    chosen = Chosen(Path("out"), columns=("vgg13/vgg8",), rows=("KD",), teachers={"vgg13": "runs/mine"})
    (group,) = plan(TABLES["cifar100-same"], chosen)
    assert group.teacher is None
    kd = next(arm for arm in group.study.arms if arm.name == "KD")
    assert kd.settings.teacher is not None
    assert kd.settings.teacher["name"] == "runs/mine"


def test_a_cache_is_set_for_students_and_not_for_the_teacher_that_is_trained() -> None:
    chosen = Chosen(Path("out"), scale="small", rows=("KD",), overrides=[("cache", "off"), ("train.epochs", 2)])
    (group,) = plan(TABLES["cifar100-same"], chosen)
    assert group.teacher is not None
    assert {each.train.epochs for each in (group.teacher, *(arm.settings for arm in group.study.arms))} == {2}
    assert next(arm.settings.cache.name for arm in group.study.arms if arm.name == "KD") == "off"


def test_what_does_the_runs_may_be_named_with_its_settings() -> None:
    chosen = Chosen(Path("out"), rows=("KD",), executor=[("executor", {"name": "local", "workers": 2})])
    assert {group.study.executor["workers"] for group in plan(TABLES["cifar100-same"], chosen)} == {2}


def test_a_table_reads_its_types() -> None:
    assert isinstance(TABLES["byot"], Table)
    assert TABLES["byot"].rows[0].published == [None, None, None, 77.09]
