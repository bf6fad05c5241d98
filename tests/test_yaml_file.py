from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import UserError
from understudy.yaml_file import parse_yaml, read_yaml, yaml_text

AMBIGUOUS = [
    *("on", "off", "yes", "no", "y", "n", "True", "true", "null", "Null", "~", "", " ", "=", "<<", "-", "?", ": ", "#"),
    *("1e3", "1.0e3", "1E-3", ".5", "5.", "1_000", "0o7", "010", "0x10", "0b1", "+1", "-0", "12:30", "1:30:00"),
    *(
        ".inf",
        "-.inf",
        ".nan",
        ".NaN",
        "2024-01-01",
        "!!int 3",
        "&a",
        "*a",
        "'",
        '"',
        "a: b",
        "a\nb",
        "\x85",
        "\r",
        "é",
    ),
]
WORDS = st.sampled_from(AMBIGUOUS) | st.text()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS
TREES = st.dictionaries(
    WORDS, st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=8)
)


@given(TREES)
def test_what_is_read_is_what_was_written(tree: dict[str, Any]) -> None:
    found = parse_yaml(yaml_text(tree), "text")
    assert found == tree
    assert repr(found) == repr(tree)


@pytest.mark.parametrize("word", AMBIGUOUS)
def test_ambiguous_words_stay_words_in_a_file(word: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(yaml_text({"name": word, word: [word]}).encode())
    assert read_yaml(file) == {"name": word, word: [word]}
    # Readers of YAML 1.1 see the same.
    assert yaml.safe_load(file.read_text()) == {"name": word, word: [word]}


@pytest.mark.parametrize("text", ["a: !!int x", "a: !!timestamp x", "a: !!bool x", "a: 1\na: 2"])
def test_what_cannot_be_read_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match="text is not valid YAML"):
        parse_yaml(text, "text")
