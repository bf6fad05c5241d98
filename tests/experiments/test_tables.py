import re
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from understudy.data.base import DATASETS
from understudy.experiments.catalogue import datasets_table, method_page, methods_table, models_table
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
