"""What a search tries: ranges and choices by dotted key."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from understudy.config import dotted
from understudy.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Space = dict[str, list[Any]]

WORDS = ("log", "int")
CHOICES = "choices"
FORMS = "give [low, high], [low, high, log], [low, high, int], a list of choices, or of two numbers [2, 4, choices]"
# A part of a range at which there is no whole number.
BETWEEN = 0.6180339887


def checked_space(space: Mapping[str, Any]) -> Space:
    """Ranges and choices by dotted key, in their order.

    Args:
        space: By key, dotted or nested: `[low, high]`, after which `log` draws each power alike and `int` draws whole
            numbers only; any other list is one of choices, as is one of numbers with the word `choices` behind.

    Raises:
        UserError: An entry is neither.
    """
    found = dotted(space)
    for name, values in found.items():
        if not isinstance(values, list) or len(values) < 2 or not (_is_range(values) or _are_choices(values)):
            raise UserError(f"space has {name}={values!r}, which is nothing to search: {FORMS}")
        if _is_range(values):
            _check_range(name, values)
    return found


def distributions(space: Space) -> dict[str, "BaseDistribution"]:
    """The same in Optuna's terms."""
    return dict(_distributions(space))


def samples(values: list[Any]) -> list[Any]:
    """What must be valid for all of a range or of choices to be so: the ends, and what lies between whole numbers."""
    if not _is_range(values):
        return _choices(values)
    low, high = values[:2]
    return [low, high] if "int" in values else [low, high, low + BETWEEN * (high - low)]


def range_text(values: list[Any]) -> str:
    """For people: `1 to 20, log`, or `sgd | adamw`."""
    if _is_range(values):
        return ", ".join([f"{values[0]} to {values[1]}", *values[2:]])
    return " | ".join(map(str, _choices(values)))


def _distributions(space: Space) -> Iterator[tuple[str, "BaseDistribution"]]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    for key, values in space.items():
        if not _is_range(values):
            yield key, CategoricalDistribution(_choices(values))
        elif "int" in values:
            yield key, IntDistribution(values[0], values[1], log="log" in values)
        else:
            yield key, FloatDistribution(values[0], values[1], log="log" in values)


def _is_range(values: list[Any]) -> bool:
    return all(map(_is_number, values[:2])) and all(word in WORDS for word in values[2:])


def _are_choices(values: list[Any]) -> bool:
    """A word after two numbers is one that is misspelt."""
    listed = _choices(values)
    plain = all(value is None or isinstance(value, bool | int | float | str) for value in listed)
    misspelt = all(map(_is_number, listed[:2])) and any(isinstance(value, str) for value in listed[2:])
    return len(listed) > 1 and plain and not misspelt


def _choices(values: list[Any]) -> list[Any]:
    return values[:-1] if values[-1] == CHOICES else values


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
