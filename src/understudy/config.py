"""Settings in layers of YAML and `key=value`, validated strictly against signatures.

A *component* is a part that is chosen by name and then has settings of its own, such as `method: {name: kd,
temperature: 4}`. Naming it alone, `method: kd`, is enough. A layer that changes a component's name drops the settings
that earlier layers gave the old one: a leaked `weight` or `temperature` would ruin a result in silence.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from understudy.errors import UserError
from understudy.invalid import explain
from understudy.yaml_file import parse_yaml

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


class Shape(NamedTuple):
    """Where in the tree components stand.

    Attributes:
        components: Paths that hold one component, such as `train.optimizer`.
        lists: Paths that hold a list of components, such as `method`.
        aliases: Other names of top-level keys.
    """

    components: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = {}


def parse_override(text: str) -> tuple[str, Any]:
    """`train.lr=1e-3` -> (`train.lr`, 0.001); the value is YAML, so lists are `[a,b]` and nothing is `null`.

    Raises:
        UserError: There is no `=`, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key or not all(key.split(".")):
        raise UserError(f"'{text}' is not of the form key=value, for example train.epochs=30")
    return key, parse_yaml(value, f"the value of '{key}'")


def layered(base: Tree, files: Iterable[Tree], overrides: Iterable[tuple[str, Any]], shape: Shape) -> Tree:
    """Lay files and then overrides (dotted key, value) over a base.

    Overrides with short keys and names go first, whatever their order, so that `method.weight=5 method=at` sets AT's
    weight.
    """
    tree = merge({}, base, shape)
    for layer in files:
        tree = merge(tree, layer, shape)
    for key, value in sorted(overrides, key=lambda pair: (pair[0].count("."), not pair[0].endswith(".name"))):
        tree = assign(tree, key, value, shape)
    return tree


def merge(base: Tree, layer: Mapping[str, Any], shape: Shape, path: str = "") -> Tree:
    """Lay `layer` over `base`; neither changes."""
    merged = deepcopy(base)
    for key, value in layer.items():
        name = shape.aliases.get(key, key) if not path else key
        where = f"{path}.{name}" if path else name
        merged[name] = _laid(merged.get(name), value, shape, where)
    return merged


def _laid(old: Any, new: Any, shape: Shape, where: str) -> Any:
    if where in shape.lists:
        return _laid_list(old, new, shape, where)
    if where in shape.components and new is not None:
        return _laid_component(old, new, shape, where)
    if isinstance(new, Mapping):
        return merge(old if isinstance(old, dict) else {}, new, shape, where)
    return deepcopy(new)


def _laid_component(old: Any, new: Any, shape: Shape, where: str) -> Tree:
    layer = dict(new) if isinstance(new, Mapping) else {"name": new}
    old = old if isinstance(old, dict) else {}
    keeps = "name" not in layer or layer["name"] == old.get("name", layer["name"])
    return merge(old if keeps else {}, layer, shape, where)


def _laid_list(old: Any, new: Any, shape: Shape, where: str) -> list[Tree]:
    olds: list[Tree] = list(old or [])
    if isinstance(new, Mapping) and "name" not in new:
        return [_laid_component(_only(olds, where), new, shape, where)]
    items = new if isinstance(new, list) else [] if new is None else [new]
    by_name = {item["name"]: item for item in olds}
    laid = [_laid_component({}, item, shape, where) for item in items]
    if not all(item.get("name") for item in laid):
        raise UserError(f"every entry of '{where}' needs a name, as in {where}=[kd]; got {new!r}")
    return [_laid_component(by_name.get(item.get("name")), item, shape, where) for item in laid]


def assign(tree: Tree, key: str, value: Any, shape: Shape) -> Tree:
    """Set one dotted key. Inside a list of components the next part is a component's name or, with one, a setting."""
    head, _, rest = key.partition(".")
    head = shape.aliases.get(head, head)
    if head in shape.lists and rest:
        return {**tree, head: _assigned_list(tree.get(head) or [], head, rest, value, shape)}
    return merge(tree, _nested(".".join([head, rest] if rest else [head]), value), shape)


def dotted(tree: Mapping[str, Any], where: str = "") -> Tree:
    """`{a: {b: 3}}` -> `{a.b: 3}`."""
    found: Tree = {}
    for key, value in tree.items():
        name = f"{where}.{key}" if where else key
        found |= dotted(value, name) if isinstance(value, Mapping) else {name: value}
    return found


def _nested(key: str, value: Any) -> Tree:
    """`a.b` and 3 -> `{a: {b: 3}}`."""
    *outer, last = key.split(".")
    tree: Tree = {last: value}
    for part in reversed(outer):
        tree = {part: tree}
    return tree


def _assigned_list(items: list[Tree], where: str, rest: str, value: Any, shape: Shape) -> list[Tree]:
    first, _, setting = rest.partition(".")
    named = [item for item in items if item.get("name") == first]
    if named and setting:
        layer = _nested(setting, value)
        return [_laid_component(item, layer, shape, where) if item is named[0] else item for item in items]
    if setting:
        names = ", ".join(str(item["name"]) for item in items) or "none"
        raise UserError(f"unknown key '{where}.{rest}': there is no '{first}' among the chosen ones ({names})")
    return [_laid_component(_only(items, where), {first: value}, shape, where)]


def _only(items: list[Tree], where: str) -> Tree:
    if not items:
        raise UserError(f"no component is chosen for '{where}': name one first, as in {where}=[NAME]")
    if len(items) > 1:
        names = ", ".join(str(item["name"]) for item in items)
        raise UserError(f"'{where}' holds several components ({names}): name the one meant, as in {where}.NAME.setting")
    return items[0]


def validated(model: type[Model], values: Mapping[str, Any], where: str = "") -> Model:
    """Check values against a pydantic model.

    Raises:
        UserError: An unknown key, with the closest known one, or a value of the wrong kind, with its full key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, model, values, where)) from None


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, numbers may stand where a word is wanted."""

    model_config = ConfigDict(
        extra="forbid", coerce_numbers_to_str=True, arbitrary_types_allowed=True, protected_namespaces=()
    )


def settings_of(
    function: Callable[..., object], *, exclude: Collection[str] = (), base: type[BaseModel] = Settings
) -> type[BaseModel]:
    """The settings of a class or function as a pydantic model: its keyword-only parameters with their defaults.

    Args:
        function: A registered class or function.
        exclude: Parameters that the program supplies itself.
        base: Settings that every component of this kind has besides.
    """
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in exclude
    }
    return create_model(function.__name__, __base__=base, **fields)


def complete(
    function: Callable[..., object],
    settings: Mapping[str, Any],
    where: str,
    *,
    exclude: Collection[str] = (),
    base: type[BaseModel] = Settings,
) -> Tree:
    """Check settings against a signature and fill in its defaults; the values are plain types, as YAML holds them.

    Raises:
        UserError: As `validated`.
    """
    return validated(settings_of(function, exclude=exclude, base=base), settings, where).model_dump(mode="json")
