"""What a validation found, said in one line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, NamedTuple, get_args, get_type_hints

from pydantic import BaseModel, ValidationError

from understudy.errors import did_you_mean

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
# What a value may be, by the beginning of the type of pydantic's complaint.
_FORMS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "a word",
    "dict": "a mapping {key: value}",
    "list": "a list [a, b]",
    "tuple": "a list [a, b]",
    "none": "null",
}


class _Problem(NamedTuple):
    """One complaint. Where a value may be of several kinds, pydantic has one for each, with its name in the place."""

    kind: str
    message: str
    path: tuple[str | int, ...]
    # Length of the path to the value of several kinds; None where there is but one.
    fork: int | None
    value: object


def explain(error: ValidationError, model: type[BaseModel], values: Mapping[str, Any], where: str) -> str:
    """The first problem with its full key, the offending value and what could stand there.

    Args:
        error: What pydantic found.
        model: What the values were checked against.
        values: The values.
        where: Key of the section that they stand in; empty at the top.
    """
    problems = [_problem(found, values) for found in error.errors()]
    first = problems[0]
    if first.fork is None:
        return _line(first, model, where)
    place = first.path[: first.fork]
    alike = [problem for problem in problems if problem.path[: first.fork] == place]
    # The kind that the value fits best has got furthest with it.
    best = max(alike, key=lambda problem: (len(problem.path), problem.kind == "value_error"))
    if len(best.path) > len(place) or best.kind == "value_error":
        return _line(best, model, where)
    forms = dict.fromkeys(_form(problem, model) for problem in alike)
    return f"{_key(place, where)}={best.value!r} is not valid: give {' or '.join(forms)}"


def _problem(found: Any, values: object) -> _Problem:
    path: list[str | int] = []
    fork = None
    for part in found["loc"]:
        if _holds(values, part):
            values = values[part]  # pyright: ignore[reportIndexIssue]  # it holds it
            path.append(part)
        elif found["type"] in _MISSING and part == found["loc"][-1]:
            path.append(part)
        else:
            fork = len(path) if fork is None else fork
    return _Problem(found["type"], found["msg"].removeprefix("Value error, "), tuple(path), fork, values)


def _holds(values: object, part: str | int) -> bool:
    if isinstance(values, Mapping):
        return part in values
    return isinstance(values, Sequence) and isinstance(part, int) and part < len(values)


def _line(problem: _Problem, model: type[BaseModel], where: str) -> str:
    key = _key(problem.path, where)
    if problem.kind in _UNKNOWN:
        return f"unknown key '{key}': {did_you_mean(str(problem.path[-1]), _fields_at(model, problem.path[:-1]))}"
    if problem.kind in _MISSING:
        return f"'{key}' is missing: set {key}=..."
    return f"{key}={problem.value!r} is not valid: {problem.message[:1].lower()}{problem.message[1:]}"


def _key(path: Sequence[str | int], where: str) -> str:
    return ".".join([*([where] if where else []), *map(str, path)])


def _form(problem: _Problem, model: type[BaseModel]) -> str:
    if problem.kind in ("dataclass_type", "model_type"):
        return f"a mapping with {', '.join(_fields_at(model, problem.path))}"
    known = _FORMS.get(problem.kind.partition("_")[0])
    return known or problem.message.removeprefix("Input should be ")


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that are known in a place."""
    annotations: list[Any] = [model]
    for part in path:
        inner = [_hints(kind) for kind in _kinds(annotations)]
        annotations = [hints[part] for hints in inner if part in hints] if isinstance(part, str) else annotations
    return [name for kind in _kinds(annotations) for name in _hints(kind)]


def _kinds(annotations: Sequence[Any]) -> Iterator[type]:
    """All classes in annotations: those of `list[A] | B` are A and B, among others."""
    for annotation in annotations:
        if isinstance(annotation, type):
            yield annotation
        yield from _kinds(get_args(annotation))


def _hints(kind: type) -> dict[str, Any]:
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return get_type_hints(kind) if is_dataclass(kind) else {}
