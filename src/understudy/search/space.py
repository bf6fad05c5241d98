"""What a search tries: ranges and choices by dotted key."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from understudy.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Space = dict[str, list[Any]]

WORDS = ("log", "int")
FORMS = "give [low, high], [low, high, log], [low, high, int] or a list of choices"


def checked_space(space: Mapping[str, Any], where: str = "") -> Space:
    """Ranges and choices by dotted key, in their order.

    Args:
        space: By key, dotted or nested: `[low, high]`, after which `log` draws each power alike and `int` draws whole
            numbers only; any other list is one of choices.
        where: The key that it stands under.

    Raises:
        UserError: An entry is neither.
    """
    found: Space = {}
    for key, values in space.items():
        name = f"{where}.{key}" if where else key
        if isinstance(values, Mapping):
            found |= checked_space(values, name)
        elif isinstance(values, list) and len(values) > 1 and (_is_range(values) or _are_choices(values)):
            found[name] = values
        else:
            raise UserError(f"space has {name}={values!r}, which is nothing to search: {FORMS}")
    for name, values in found.items():
        if _is_range(values):
            _check_range(name, values)
    return found


def distributions(space: Space) -> dict[str, "BaseDistribution"]:
    """The same in Optuna's terms."""
    return dict(_distributions(space))


def ends(values: list[Any]) -> list[Any]:
    """What must be valid for all of a range or of choices to be so."""
    return values[:2] if _is_range(values) else values


def range_text(values: list[Any]) -> str:
    """For people: `1 to 20, log`, or `sgd | adamw`."""
    if _is_range(values):
        return ", ".join([f"{values[0]} to {values[1]}", *values[2:]])
    return " | ".join(map(str, values))


def _distributions(space: Space) -> Iterator[tuple[str, "BaseDistribution"]]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    for key, values in space.items():
        if not _is_range(values):
            yield key, CategoricalDistribution(values)
        elif "int" in values:
            yield key, IntDistribution(values[0], values[1], log="log" in values)
        else:
            yield key, FloatDistribution(values[0], values[1], log="log" in values)


def _is_range(values: list[Any]) -> bool:
    return all(map(_is_number, values[:2])) and all(word in WORDS for word in values[2:])


def _are_choices(values: list[Any]) -> bool:
    """A word after two numbers is one that is misspelt."""
    plain = all(value is None or isinstance(value, bool | int | float | str) for value in values)
    return plain and not (all(map(_is_number, values[:2])) and any(isinstance(value, str) for value in values[2:]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(name: str, values: list[Any]) -> None:
    low, high = values[:2]
    if low >= high:
        raise UserError(f"space has {name}={values}, but {low} is not below {high}: give the lower end first")
    if "log" in values and low <= 0:
        raise UserError(f"space has {name}={values}, but log needs numbers above 0: raise {low}")
    if "int" in values and not (isinstance(low, int) and isinstance(high, int)):
        raise UserError(f"space has {name}={values}, but int needs whole numbers at both ends")
