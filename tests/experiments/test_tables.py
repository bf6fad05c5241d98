import re
from io import StringIO

import pytest
from rich.console import Console

from understudy.experiments.tables import method_page, methods_table
from understudy.methods import METHODS


def shown() -> str:
    console = Console(file=StringIO(), width=500)
    console.print(methods_table())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_methods_are_listed_with_paper_terms_and_settings() -> None:
    rows = {cells[0]: cells for line in shown().splitlines() if len(cells := re.split(r" *│ *", line)[1:-1]) == 4}
    assert list(rows) == METHODS.names()
    assert rows["kd"][1].startswith("Knowledge distillation (Hinton")
    assert rows["kd"][2:] == ["kd", "temperature=4.0, weight=0.9, logits=raw"]
    assert rows["dkd"][2] == "dkd_target, dkd_nontarget"


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
