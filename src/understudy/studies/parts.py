"""What a study and a search share: settings of their own beside those of their runs, and what does the runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from understudy.config import Settings, Shape, Tree, complete, layered, validated
from understudy.experiments.settings import METHOD_OF
from understudy.studies.executors import EXECUTORS, Executor
from understudy.yaml_file import read_yaml

Pairs = list[tuple[str, Any]]
Chosen = TypeVar("Chosen", bound=Settings)

OWN_SHAPE = Shape(components=frozenset({"executor"}))
OWN_START: Tree = {"executor": {"name": "local"}}
# A distillation starts from it, so that an arm or a flag may change its settings without naming it.
START: Tree = {"method": [{"name": METHOD_OF["distill"]}]}


class Parts(NamedTuple):
    """What files and overrides say of the runs.

    Attributes:
        layers: What each file says.
        overrides: Dotted keys and values over them.
    """

    layers: list[Tree]
    overrides: Pairs


def divided(kind: type[Chosen], files: Sequence[Path], overrides: Sequence[tuple[str, Any]]) -> tuple[Chosen, Parts]:
    """What is said of the study or search itself, and what is said of its runs.

    Args:
        kind: The settings of its own; all others are those of runs.
        files: YAML files, later ones over earlier ones.
        overrides: Dotted keys and values over them.

    Raises:
        UserError: A file cannot be read, or a value is wrong.
    """
    both = [_divided(kind, [*read_yaml(path).items()]) for path in files]
    own, of_runs = _divided(kind, overrides)
    chosen = validated(kind, layered(OWN_START, [dict(mine) for mine, _ in both], own, OWN_SHAPE))
    return chosen, Parts([dict(others) for _, others in both], of_runs)


def complete_executor(chosen: Tree) -> Tree:
    """Name and settings of an executor with its defaults written out.

    Raises:
        UserError: There is none of that name, or a setting of it is wrong.
    """
    name = str(chosen["name"])
    return {"name": name, **complete(EXECUTORS.get(name), _settings(chosen), "executor")}


def make_executor(chosen: Tree) -> Executor:
    """What does the runs, from its name and settings."""
    return EXECUTORS.get(chosen["name"])(**_settings(chosen))


def _settings(chosen: Tree) -> Tree:
    return {key: value for key, value in chosen.items() if key != "name"}


def _divided(kind: type[Settings], pairs: Sequence[tuple[str, Any]]) -> tuple[Pairs, Pairs]:
    own = [pair for pair in pairs if pair[0].partition(".")[0] in kind.model_fields]
    return own, [pair for pair in pairs if pair not in own]
