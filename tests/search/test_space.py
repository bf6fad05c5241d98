"""Ranges and choices."""

from typing import Any

import pytest

from understudy.errors import UserError
from understudy.search.space import checked_space, distributions, ends, range_text

optuna = pytest.importorskip("optuna")


def test_ranges_and_choices_in_optunas_terms() -> None:
    space = checked_space(
        {
            "method.temperature": [1, 20, "log"],
            "label": {"weight": [0, 1]},
            "train": {"epochs": [2, 8, "int", "log"], "optimizer": ["sgd", "adamw"]},
            "data.augment": [None, "shift"],
            "train.batch_size": [32, 64, 128],
        }
    )
    float_, int_ = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    assert distributions(space) == {
        "method.temperature": float_(1, 20, log=True),
        "label.weight": float_(0, 1),
        "train.epochs": int_(2, 8, log=True),
        "train.optimizer": optuna.distributions.CategoricalDistribution(["sgd", "adamw"]),
        "data.augment": optuna.distributions.CategoricalDistribution([None, "shift"]),
        "train.batch_size": optuna.distributions.CategoricalDistribution([32, 64, 128]),
    }
    assert ends(space["train.epochs"]) == [2, 8]
    assert ends(space["train.batch_size"]) == [32, 64, 128]
    assert [range_text(values) for values in space.values()][:4:3] == ["1 to 20, log", "sgd | adamw"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (4, "nothing to search"),
        ([4], "nothing to search"),
        ([1, 20, "lgo"], "nothing to search"),
        ([[1, 2], [3, 4]], "nothing to search"),
        ([20, 1], "20 is not below 1"),
        ([0, 1, "log"], "numbers above 0"),
        ([0.5, 2, "int"], "whole numbers"),
    ],
)
def test_what_is_wrong_is_one_line(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        checked_space({"method": {"temperature": values}})
    assert "method.temperature" in str(caught.value)
    assert "\n" not in str(caught.value)
