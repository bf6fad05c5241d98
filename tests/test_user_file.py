"""What goes wrong in a user's file is told in one line."""

import pickle
import sys
from pathlib import Path

import pytest

from understudy.data import load_data
from understudy.errors import UserError
from understudy.models import create_model
from understudy.user_file import UserFunction


def write(path: Path, text: str, function: str = "make") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return f"{path}:{function}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef make(:\n    pass\n", "mine.py, line 2: SyntaxError: "),
        ("\n\nimport not_a_module_at_all\n", "mine.py, line 3: ModuleNotFoundError: No module named 'not_a"),
        ("def inner():\n    return 1 / 0\n\nvalue = inner()\n", "mine.py, line 2: ZeroDivisionError: division"),
        ("make = 3\n", "mine.py' has no function 'make': define it"),
        ("def make(**options):\n    raise KeyError('two\\nlines')\n", "mine.py, line 2: KeyError: "),
        ("import json\ndef make(**options):\n    return json.loads('{')\n", "mine.py, line 3: JSONDecodeError: "),
    ],
)
def test_mistakes_of_the_user(tmp_path: Path, text: str, message: str) -> None:
    name = write(tmp_path / "mine.py", text)
    for use in (load_data, lambda name: create_model(name, classes=2)):
        with pytest.raises(UserError, match=message) as caught:
            use(name)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_own_message_of_a_user_error_is_kept(tmp_path: Path) -> None:
    text = "from understudy.errors import UserError\ndef make():\n    raise UserError('as it is')\n"
    with pytest.raises(UserError, match=r"^as it is$"):
        UserFunction(write(tmp_path / "mine.py", text))()


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    text = "class Thing:\n    place = '{}'\ndef make():\n    return Thing()\n"
    made = [UserFunction(write(tmp_path / part / "mine.py", text.format(part)))() for part in ("a", "b")]
    assert [pickle.loads(pickle.dumps(thing)).place for thing in made] == ["a", "b"]
    assert all(type(thing).__module__ in sys.modules for thing in made)
