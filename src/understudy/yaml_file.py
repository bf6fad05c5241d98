"""YAML files, read as they were written."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from understudy.errors import UserError

# YAML 1.2's plain scalars: `1e-3` is a number, `no`, `on` and `2024-01-01` are words.
_SCALARS = (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    # Not `010`, which PyYAML takes for octal: it stays a word, and a number where one is wanted.
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$",
        "-+.0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2. A key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key '{key}' stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the words that YAML 1.1 or 1.2 would take for something else, such as `on` and `1e3`."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        UserError: The file is missing, is not YAML, or does not hold `key: value` lines.
    """
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UserError(f"cannot read settings from '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read settings from '{path}': it is not a text file") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"'{path}' must hold 'key: value' lines, found a {type(tree).__name__}")
    return tree


def parse_yaml(text: str, source: str) -> Any:
    """The value that a text says.

    Args:
        text: YAML 1.2, plain types only.
        source: Where the text is from, for the message.

    Raises:
        UserError: It is not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    # What does not fit the tag in front of it fails in each tag's own way.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{source} is not valid YAML: {reason}") from error


def yaml_text(tree: Mapping[str, Any]) -> str:
    """Plain values as YAML that `parse_yaml` reads as they are."""
    return yaml.dump(dict(tree), Dumper=_Dumper, sort_keys=False)
