import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from understudy import registry
from understudy.errors import UserError
from understudy.methods import METHODS
from understudy.registry import Registry

Fruits = Registry[Callable[..., object]]


def orange() -> str:
    """What a third party registers."""
    return "orange"


@pytest.fixture
def fruits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fruits:
    """A registry whose package has one module, which registers `apple`."""
    package = tmp_path / "orchard"
    package.mkdir()
    (package / "__init__.py").write_text("ENTRIES = None\n")
    (package / "tree.py").write_text("import orchard\n\n\n@orchard.ENTRIES.register('apple')\ndef apple(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("orchard", "orchard.tree"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    import orchard

    made = Registry[Callable[..., object]]("fruit", "orchard")
    monkeypatch.setattr(orchard, "ENTRIES", made)
    return made


def offer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    point = EntryPoint(name, f"{__name__}:orange", "understudy.fruits")
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [point] if group == point.group else [])


def test_modules_of_the_package_register_themselves(fruits: Fruits) -> None:
    assert "apple" in fruits
    assert fruits.names() == ["apple"]
    assert fruits.get("apple").__name__ == "apple"


def test_third_parties_register_by_entry_point(fruits: Fruits, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "orange")
    assert fruits.names() == ["apple", "orange"]
    assert fruits.get("orange")() == "orange"


def test_entry_point_cannot_take_a_name_that_is_taken(fruits: Fruits, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "apple")
    with pytest.raises(ValueError, match=r"fruit 'apple' is already registered by orchard\.tree"):
        fruits.names()


def test_two_things_cannot_share_a_name(fruits: Fruits) -> None:
    fruits.register("pear")(orange)
    with pytest.raises(ValueError, match=r"fruit 'pear' is already registered by .*take another name"):
        fruits.register("pear")(offer)


def test_module_may_be_loaded_again(fruits: Fruits) -> None:
    def first() -> None: ...

    def again() -> None: ...

    again.__qualname__ = first.__qualname__
    fruits.register("fig")(first)
    assert fruits.register("fig")(again) is again
    assert fruits.get("fig") is again


@pytest.mark.parametrize(
    ("name", "message"),
    [("aple", "unknown fruit 'aple': did you mean 'apple'"), ("zzz", "unknown fruit 'zzz': choose from apple")],
)
def test_unknown_name_suggests(fruits: Fruits, name: str, message: str) -> None:
    assert name not in fruits
    with pytest.raises(UserError, match=message):
        fruits.get(name)


def test_methods_of_this_package_are_found() -> None:
    assert {"kd", "logit-mse", "soft-ce"} <= set(METHODS.names())
