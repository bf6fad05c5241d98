"""The arms of a study: what each of them says besides what all have in common."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from understudy.config import Tree, dotted
from understudy.errors import UserError

NAME = re.compile(r"[\w.+=,-]+")
METHOD = "method"


def named_arms(
    arms: Mapping[str, Mapping[str, Any]], methods: Sequence[Any], grid: Mapping[str, Any], *, common: Sequence[str]
) -> dict[str, Tree]:
    """Every arm by name with its own settings; dotted keys may stand beside nested ones.

    Args:
        arms: Arms with names of their own.
        methods: Each becomes an arm: a method, a method with settings, or a list of methods that teach together.
        grid: Values by dotted key; each arm is divided into one for each combination.
        common: The methods that all arms have in common, after which an arm without settings is called.

    Raises:
        UserError: A name stands twice or cannot be that of a directory, or the grid is no grid.
    """
    found = {name: dict(own) for name, own in arms.items()}
    for method in methods:
        _add(found, "+".join(_names(method)), {METHOD: method})
    cells = list(_cells(grid))
    if not found:
        found["" if grid else "+".join(common) or "labels"] = {}
    divided: dict[str, Tree] = {}
    for name, own in found.items():
        for cell, settings in cells:
            _add(divided, ",".join(part for part in (name, cell) if part), {**own, **settings})
    return divided


def _add(arms: dict[str, Tree], name: str, own: Tree) -> None:
    if name in arms:
        raise UserError(f"two arms are called '{name}': give them other names, as in arms={{a: {{...}}, b: {{...}}}}")
    if not NAME.fullmatch(name):
        raise UserError(f"an arm cannot be called '{name}', which is a directory: use letters, digits and _.+=,-")
    arms[name] = own


def _names(method: Any) -> list[str]:
    """What an entry of `methods` is called: by name, without its settings."""
    if isinstance(method, list):
        return [name for part in method for name in _names(part)]
    name = method.get("name") if isinstance(method, Mapping) else method
    if not isinstance(name, str):
        raise UserError(f"methods={method!r} has no name: give names, as in methods=[kd,dkd,[at,kd]]")
    return [name]


def _cells(grid: Mapping[str, Any]) -> Iterator[tuple[str, Tree]]:
    """All combinations, each with its name; one without a name of an empty grid."""
    axes = dotted(grid)
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"grid needs a list of values, got {key}={values!r}: give {key}: [first, second]")
    words = _short(list(axes))
    for values in product(*axes.values()):
        cell = dict(zip(axes, values, strict=True))
        yield cell_name({words[key]: value for key, value in cell.items()}), cell


def cell_name(settings: Mapping[str, Any]) -> str:
    """Settings as part of the name of an arm: `temperature=2,weight=0.1`."""
    return ",".join(f"{key}={_text(value)}" for key, value in settings.items())


def _short(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key where that is not also the last part of another."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)}


def _text(value: Any) -> str:
    return directory_name(value if isinstance(value, str) else json.dumps(value).strip("[{}]"))


def directory_name(text: str) -> str:
    """A text without what may not stand in the name of a directory."""
    return re.sub(r"[^\w.+-]+", "-", text.strip())
