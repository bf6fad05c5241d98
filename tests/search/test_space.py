"""Ranges and choices."""

from typing import Any

import pytest

from understudy.errors import UserError
from understudy.search.space import checked_space, distributions, range_text, samples

optuna = pytest.importorskip("optuna")


def test_ranges_and_choices_in_optunas_terms() -> None:
    space = checked_space(
        {
            "method.temperature": [1, 20, "log"],
            "label": {"weight": [0, 1]},
            "train": {"epochs": [2, 8, "int", "log"], "optimizer": ["sgd", "adamw"]},
            "data.augment": [None, "shift"],
            "train.batch_size": [32, 64, 128],
            "method.weight": [2, 4, "choices"],
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
        "method.weight": optuna.distributions.CategoricalDistribution([2, 4]),
    }
    assert samples(space["train.epochs"]) == [2, 8]
    assert samples(space["train.batch_size"]) == [32, 64, 128]
    assert samples(space["method.weight"]) == [2, 4]
    low, high, between = samples(space["method.temperature"])
    assert (low, high) == (1, 20)
    assert 1 < between < 20
    assert not between.is_integer()
    assert [range_text(values) for values in space.values()][::3] == ["1 to 20, log", "sgd | adamw", "2 | 4"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (4, "nothing to search"),
        ([4], "nothing to search"),
        ([1, 20, "lgo"], "nothing to search"),
        ([4, "choices"], "nothing to search"),
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
