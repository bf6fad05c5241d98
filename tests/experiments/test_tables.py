import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from understudy.data.base import DATASETS
from understudy.evaluation.statistics import paired_difference
from understudy.experiments.catalogue import datasets_table, method_page, methods_table, models_table
from understudy.experiments.demo import Comparison
from understudy.experiments.exit_comparison import Difference, ExitComparison
from understudy.experiments.exit_tables import comparison_tables
from understudy.experiments.tables import verdict
from understudy.methods import METHODS
from understudy.models.base import MODELS


def shown(table: Table, *, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_methods_are_listed_with_paper_and_settings() -> None:
    lines = shown(methods_table(), width=200)
    assert [line.split()[0] for line in lines[1:-1:2]] == METHODS.names()
    at = lines.index(next(line for line in lines if line.startswith("kd ")))
    assert lines[at].split(maxsplit=1)[1].startswith("Knowledge distillation (Hinton")
    assert lines[at + 1].strip() == "temperature=4.0, weight=0.9, logits=raw"


def test_lists_take_two_lines_a_row_at_80_columns() -> None:
    methods = shown(methods_table())
    assert len(methods) == 2 * len(METHODS.names()) + 2
    assert [line.split()[0] for line in methods[1:-1:2]] == METHODS.names()
    # The year stays, however long the title is.
    assert re.search(r"^at .*… ICLR 2017\)$", "\n".join(line.rstrip() for line in methods), re.MULTILINE)
    assert len(shown(datasets_table())) == 2 * len(DATASETS.names()) + 1
    assert len(shown(models_table())) == len(MODELS.names()) + 1


@pytest.mark.parametrize("name", METHODS.names())
def test_page_explains_each_method(name: str) -> None:
    page = method_page(name)
    assert page.startswith(f"{name}: ")
    for part in ("\nArgs:\n", "\nTerms: ", "\nDefaults: ", "\nLabel loss: label.weight=", "\nStages: "):
        assert part in page
    assert ">>>" not in page


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("kd", ["understudy.losses.logit.kd_loss:", "`batchmean`", "label.weight=0.1", "train as one"]),
        ("sp", ["its terms relate the images of a batch", "Layers: last of the automatic pairing"]),
        ("dkd", ["needs the label", "Terms: dkd_target, dkd_nontarget."]),
        ("fitnets", ["kd_weight={start: 4.0, end: 1.0}"]),
        ("ft", ["Stages: paraphrase (30 epochs), then train (train.epochs epochs)."]),
    ],
)
def test_page_says_what_a_method_needs(name: str, parts: list[str]) -> None:
    page = method_page(name)
    for part in parts:
        assert part in page


def test_the_demo_concludes_nothing_from_equal_differences() -> None:
    equal, unequal = (paired_difference([0.9, last], [0.8, 0.7]) for last in (0.8, 0.8001))
    assert verdict(Comparison({}, [], [], equal)).startswith(
        "Not shown: distilled minus plain is +10.00 points, no conf"
    )
    assert verdict(Comparison({}, [], [], unequal)).startswith("Distillation helped: distilled minus plain is +10.01")


def test_exits_that_differ_equally_have_no_interval() -> None:
    place = ("cnn-s", "main", "distilled", "base", 2, 0.1)
    equal, unequal = Difference(*place, 0.0, None, None, None), Difference(*place, 0.01, 0.02, 0.18, 0.04)
    _, table = comparison_tables(ExitComparison([], [equal, unequal], Path()))
    rows = [line.replace("│", " ").split() for line in shown(table, width=120)]
    assert ["cnn-s", "main", "distilled", "-", "base", "+10.00", "0.00"] in rows
    assert ["cnn-s", "main", "distilled", "-", "base", "+10.00", "1.00", "[+2.00,", "+18.00]", "0.04"] in rows
